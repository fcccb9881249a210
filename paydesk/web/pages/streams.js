// Who scores streams, at which rate, and how much waits; nothing where nobody ever did.

import { cell, h, put, say } from "./dom.js";

const SILENT_S = 10; // a scorer reports every two seconds

export class Streams {
  constructor() {
    this.note = h("p", { class: "quiet note" });
    this.list = h("tbody", {});
    const heads = [["Scorer"], ["Topic"], ["State"], ["Waiting", true], ["Per second", true], ["Slowest alert", true], ["Decisions", true], ["Dead letters", true]];
    this.element = h(
      "section",
      { class: "card streams", "aria-labelledby": "streams", hidden: true },
      h("div", { class: "head" }, h("h3", { id: "streams" }, "Streams"), h("span", { class: "grow" }), this.note),
      h("table", { class: "wide" }, h("thead", {}, h("tr", {}, heads.map(([name, number]) => h("th", { scope: "col", class: number && "number" }, name)))), this.list),
    );
  }

  show(scorers) {
    this.element.hidden = scorers.length === 0;
    const live = scorers.filter(isLive);
    const sum = (name) => Math.round(live.reduce((all, scorer) => all + scorer[name], 0)).toLocaleString();
    say(this.note, live.length === 0 ? "Nobody scores just now." : `${sum("per_second")} a second, ${sum("waiting")} waiting`);
    this.note.classList.toggle("doubt", live.length === 0);
    put(this.list, scorers.map(row));
  }
}

function isLive({ state, heard_s_ago: ago }) {
  return state === "scoring" && ago <= SILENT_S;
}

function row(scorer) {
  const count = (value) => Math.round(value).toLocaleString();
  const live = isLive(scorer);
  const now = (text) => (live ? text : "–");
  return h(
    "tr",
    {},
    h("th", { scope: "row", "data-label": "Scorer" }, scorer.name, h("span", { class: "quiet" }, ` of ${scorer.group}`)),
    cell("Topic", scorer.topic),
    cell("State", stateOf(scorer), live || scorer.state === "stopped" ? "" : "doubt"),
    cell("Waiting", now(count(scorer.waiting)), "number"),
    cell("Per second", now(count(scorer.per_second)), "number"),
    cell("Slowest alert", now(scorer.to_alert_ms === null ? "none" : `${count(scorer.to_alert_ms)} ms`), "number"),
    cell("Decisions", count(scorer.decisions), "number"),
    cell("Dead letters", count(scorer.dead_letters), "number"),
  );
}

function stateOf({ state, heard_s_ago: ago }) {
  if (state === "stopped") return `stopped ${lasting(ago)} ago`;
  return ago <= SILENT_S ? "scoring" : `not heard of for ${lasting(ago)}`;
}

function lasting(seconds) {
  const [size, name] = seconds < 90 ? [1, "s"] : seconds < 5400 ? [60, "min"] : [3600, "h"];
  return `${Math.round(seconds / size)} ${name}`;
}
