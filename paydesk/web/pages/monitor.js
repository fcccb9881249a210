// The monitor: totals, charts, and the latest decisions as they come.

import { ApiError } from "./api.js";
import { LEVELS, LevelChart } from "./charts.js";
import { cell, factList, h, put, say, when } from "./dom.js";
import { Repeated } from "./repeated.js";
import { badge, percent, riskOf } from "./risk.js";
import { Streams } from "./streams.js";

const DECISIONS_EVERY_S = 3;
const CHARTS_EVERY_S = 15;
const PAGE = 50;
const LONGEST_ID = 24; // characters in a row; the details have all
const MOST = 500; // rows on the page; the file has all
const WINDOWS = { hour: "Hour", day: "Day", week: "Week", month: "30 days" };

export class Monitor {
  constructor(api) {
    this.api = api;
    this.window = "day";
    this.filter = {};
    this.rows = new Map();
    this.cursor = null;
    this.asking = new Repeated(DECISIONS_EVERY_S, () => this.#refresh());
    this.charted = 0;
    this.newest = null;
    this.tiles = Object.fromEntries(["total", "high", ...LEVELS].map((name) => [name, h("dd", {}, "–")]));
    this.live = h("input", { type: "checkbox", ".checked": true, onchange: () => (this.live.checked ? this.asking.begin() : this.asking.end()) });
    this.news = h("p", { class: "unseen", role: "status" });
    this.trouble = h("p", { class: "notice wrong", hidden: true });
    this.overTime = new LevelChart({ title: "Decisions over time", first: "From" });
    this.byProbability = new LevelChart({ title: "Fraud probability", first: "From", compressed: true });
    this.streams = new Streams();
    this.list = h("tbody", {});
    this.empty = h("p", { class: "quiet empty" }, "No decisions yet. Try a transaction, or send one to /score.");
    this.more = h("button", { type: "button", class: "plain", hidden: true, onclick: () => this.#older() }, "Older decisions");
    this.result = h("div", { class: "result", "aria-live": "polite" });
    this.element = h("div", { class: "monitor" }, this.#head(), this.trouble, this.news, h("div", { class: "charts" }, this.overTime.element, this.byProbability.element), this.streams.element, this.#decisions());
  }

  show() {
    if (this.live.checked) this.asking.begin();
    else this.asking.now();
  }

  hide() {
    this.asking.end();
  }

  async #refresh() {
    try {
      const query = this.#query();
      const chart = Date.now() - this.charted > CHARTS_EVERY_S * 1000;
      const [stats, page, streams, counts] = await Promise.all([
        this.api.get("/stats", { quiet: true }),
        this.api.get(`/decisions?${query}`, { quiet: true }),
        this.api.get("/stream/scorers", { quiet: true }),
        chart ? this.api.get(`/decisions/counts?window=${this.window}`) : null,
      ]);
      if (query === this.#query()) this.#take(page);
      this.#count(stats);
      this.streams.show(streams.scorers);
      if (counts) {
        this.charted = Date.now();
        await this.#chart(counts);
      }
      this.trouble.hidden = true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      say(this.trouble, `${error.message} What is shown may be old.`);
      this.trouble.hidden = false;
    }
  }

  #query(cursor) {
    const set = Object.entries({ ...this.filter, limit: PAGE, cursor }).filter(([, value]) => value);
    return new URLSearchParams(set).toString();
  }

  #count(stats) {
    say(this.tiles.total, stats.total.toLocaleString());
    say(this.tiles.high, stats.high.toLocaleString());
    for (const level of LEVELS) say(this.tiles[level], stats.by_level[level].toLocaleString());
  }

  async #chart({ step_s: step, over_time: steps, by_probability: parts }) {
    const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
    const day = { day: "numeric", month: "short" };
    const style = step < 14_400 ? clock : step < 43_200 ? { ...day, hour: "2-digit", hourCycle: "h23" } : day;
    const format = new Intl.DateTimeFormat(undefined, style);
    await Promise.all([
      this.overTime.show(steps, steps.map(({ at }) => format.format(new Date(at)))),
      this.byProbability.show(parts, parts.map(({ probability }) => `${Math.round(probability * 100)} %`)),
    ]);
  }

  /** The newest page, put before what is there: rows that stay keep their place and focus. */
  #take(page) {
    const fresh = page.decisions.filter(({ decision_id: id }) => !this.rows.has(id));
    if (fresh.length === page.decisions.length && this.rows.size > 0 && fresh.length > 0) this.#forget(); // more came than a page
    for (const decision of [...(this.rows.size === 0 ? page.decisions : fresh)].reverse()) {
      const row = this.#row(decision, this.newest !== null);
      this.rows.set(decision.decision_id, row);
      this.list.prepend(...row);
    }
    if (this.cursor === null) this.cursor = page.next_cursor;
    const alerts = fresh.filter(({ risk_level: level }) => level === "HIGH" || level === "CRITICAL");
    if (this.newest !== null && alerts.length > 0) {
      say(this.news, `${alerts.length} new ${alerts.length === 1 ? "alert" : "alerts"}: ${alerts[0].risk_level}, transaction ${alerts[0].tx_id}.`);
    }
    this.newest = page.decisions[0]?.decision_id ?? "";
    while (this.rows.size > MOST) {
      const last = this.list.lastElementChild.dataset.decision;
      for (const part of this.rows.get(last)) part.remove();
      this.rows.delete(last);
    }
    this.#ends();
  }

  #ends() {
    this.empty.hidden = this.rows.size > 0;
    say(this.empty, Object.keys(this.filter).length > 0 ? "No decision fits the filter." : "No decisions yet. Try a transaction, or send one to /score.");
    this.more.hidden = this.cursor === null || this.rows.size >= MOST;
  }

  #forget() {
    this.rows.clear();
    this.list.replaceChildren();
    this.cursor = null;
  }

  async #older() {
    const cursor = this.cursor;
    try {
      const page = await this.api.get(`/decisions?${this.#query(cursor)}`);
      if (cursor !== this.cursor) return;
      for (const decision of page.decisions) {
        if (this.rows.has(decision.decision_id)) continue;
        const row = this.#row(decision, false);
        this.rows.set(decision.decision_id, row);
        this.list.append(...row);
      }
      this.cursor = page.next_cursor;
      this.#ends();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      say(this.trouble, error.message);
      this.trouble.hidden = false;
    }
  }

  #row(decision, isNew) {
    const id = decision.decision_id;
    const details = h("tr", { class: "details", "data-decision": id, hidden: true }, h("td", { colspan: "8" }, riskOf(decision), facts(decision)));
    const button = h("button", { type: "button", class: "plain open", "aria-expanded": "false", onclick: () => {
      details.hidden = !details.hidden;
      button.setAttribute("aria-expanded", String(!details.hidden));
    } }, decision.tx_id.length > LONGEST_ID ? `${decision.tx_id.slice(0, LONGEST_ID - 4)}…` : decision.tx_id);
    const level = decision.risk_level.toLowerCase();
    const rules = decision.triggered_rules.map((rule) => h("abbr", { title: rule }, rule.split(":")[0]));
    const row = h(
      "tr",
      { class: `decision is-${level}${isNew ? " new" : ""}`, "data-decision": id },
      cell("When", h("time", { datetime: decision.recorded_at }, when(decision.recorded_at))),
      h("th", { scope: "row", "data-label": "Transaction" }, button),
      cell("Level", badge(decision.risk_level)),
      cell("Probability", percent(decision.fraud_probability), "number"),
      cell("Amount", Number(decision.amount).toLocaleString(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 }), "number"),
      cell("Category", [decision.category ?? "–", h("span", { class: "quiet" }, ` ${decision.hour} h`)]),
      cell("Rules", rules.length > 0 ? rules : "–", "rule-list"),
      cell("Model", decision.model, "quiet"),
    );
    return [row, details];
  }

  #head() {
    const tile = (name, label, extra = "") => h("div", { class: `tile ${extra}` }, h("dt", {}, label), this.tiles[name]);
    const choices = Object.entries(WINDOWS).map(([name, label]) => h("label", {}, h("input", { type: "radio", name: "window", value: name, class: "unseen", ".checked": name === this.window, onchange: () => this.#wide(name) }), h("span", {}, label)));
    return h(
      "div",
      { class: "top" },
      h("h2", { class: "unseen" }, "Monitor"),
      h("dl", { class: "tiles" }, tile("total", "Decisions"), tile("high", "High risk", "alert"), LEVELS.map((level) => tile(level, h("span", { class: `dot dot-${level.toLowerCase()}` }, level.toLowerCase())))),
      h("fieldset", { class: "segments" }, h("legend", { class: "unseen" }, "Time shown in the charts"), choices),
    );
  }

  #wide(name) {
    this.window = name;
    this.charted = 0;
    this.asking.now();
  }

  #decisions() {
    const level = h("select", { id: "level", onchange: () => this.#sift() }, h("option", { value: "" }, "every level"), LEVELS.map((name) => h("option", { value: name }, name)));
    const store = h("input", { id: "store", type: "text", maxlength: "200", placeholder: "any", onchange: () => this.#sift() });
    this.sieve = { level, store };
    const search = h("input", { id: "search", type: "search", maxlength: "200", placeholder: "its id" });
    const file = h("a", { class: "button plain", href: "/decisions.csv", download: "decisions.csv", onclick: (event) => this.#save(event) }, "Export as CSV");
    this.file = file;
    const heads = ["When", "Transaction", "Level", "Probability", "Amount", "Category", "Rules", "Model"];
    return h(
      "section",
      { class: "card decisions", "aria-labelledby": "latest" },
      h("div", { class: "head" }, h("h3", { id: "latest" }, "Latest decisions"), h("label", { class: "switch" }, this.live, " live"), h("span", { class: "grow" }), file),
      h(
        "div",
        { class: "filters" },
        h("div", { class: "field" }, h("label", { for: "level" }, "Level"), level),
        h("div", { class: "field" }, h("label", { for: "store" }, "Store"), store),
        h("form", { class: "field find", role: "search", onsubmit: (event) => this.#find(event, search.value.trim()) }, h("label", { for: "search" }, "Transaction"), h("div", { class: "joined" }, search, h("button", { type: "submit", class: "plain" }, "Find"))),
      ),
      this.result,
      h("table", { class: "wide" }, h("thead", {}, h("tr", {}, heads.map((name) => h("th", { scope: "col", class: name === "Probability" || name === "Amount" ? "number" : "" }, name)))), this.list),
      this.empty,
      h("div", { class: "actions" }, this.more),
    );
  }

  #sift() {
    const { level, store } = this.sieve;
    this.filter = Object.fromEntries(Object.entries({ level: level.value, store: store.value.trim() }).filter(([, value]) => value));
    const query = new URLSearchParams(this.filter).toString();
    this.file.href = `/decisions.csv${query && `?${query}`}`;
    this.#forget();
    this.newest = null;
    this.asking.now();
  }

  async #find(event, tx) {
    event.preventDefault();
    if (!tx) {
      put(this.result);
      return;
    }
    try {
      const decision = await this.api.get(`/transaction/${encodeURIComponent(tx)}`);
      put(this.result, h("div", { class: "found-one" }, h("h4", {}, `The last decision about ${decision.tx_id}, ${when(decision.recorded_at)}`), riskOf(decision), facts(decision)));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      put(this.result, h("p", { class: "notice" }, error.message));
    }
  }

  /** A link cannot carry a key: with one, the file is fetched and then saved. */
  async #save(event) {
    if (!this.api.key) return;
    event.preventDefault();
    try {
      const address = URL.createObjectURL(await this.api.blob(this.file.getAttribute("href")));
      h("a", { href: address, download: "decisions.csv" }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      say(this.trouble, error.message);
      this.trouble.hidden = false;
    }
  }
}

function facts(decision) {
  const all = [["Transaction", decision.tx_id], ["Store", decision.store], ["Customer", decision.customer_id], ["Amount", decision.amount], ["Decision", h("code", {}, decision.decision_id)], ["Model", decision.model]];
  return factList(all.filter(([, value]) => value));
}
