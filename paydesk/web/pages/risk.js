// How a decision looks, wherever it stands: its level, its probability, its reasons.

import { h } from "./dom.js";

/** A level as a badge: the word, a colour, and bars for who sees no colour. */
export function badge(level) {
  const rank = ["LOW", "MEDIUM", "HIGH", "CRITICAL"].indexOf(level);
  return h(
    "span",
    { class: `level level-${level.toLowerCase()}` },
    h("span", { class: "bars", "aria-hidden": "true" }, [0, 1, 2, 3].map((bar) => h("i", { class: bar <= rank ? "on" : "" }))),
    level,
  );
}

/** A probability in per cent. */
export function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  return `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
}

/** Level, probability, points, model, and why. */
export function riskOf(decision) {
  const facts = `fraud probability ${percent(decision.fraud_probability)} · ${decision.score} rule points · ${decision.model}`;
  return h(
    "div",
    { class: "risk" },
    h("p", { class: "risk-line" }, badge(decision.risk_level), h("span", { class: "quiet" }, facts)),
    decision.triggered_rules.length > 0 &&
      h("p", { class: "rules" }, decision.triggered_rules.map((rule) => h("span", { class: "rule" }, rule))),
    decision.reasons.length > 0
      ? h("ul", { class: "reasons" }, decision.reasons.map((reason) => h("li", {}, reason)))
      : h("p", { class: "quiet" }, "No rule and no model finding speaks against it."),
  );
}
