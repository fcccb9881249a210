// The latest payments and how each stands; one whose outcome is not known stands out.

import { ApiError } from "./api.js";
import { h, put, say, when } from "./dom.js";
import { grouped } from "./money.js";
import { bankSays, stateOf } from "./record.js";
import { Repeated } from "./repeated.js";

const EVERY_S = 15;
const PAGE = 8;
const MOST = 200; // as many as the service gives at once

export class Payments {
  constructor(api) {
    this.api = api;
    this.limit = PAGE;
    this.drawn = "";
    this.list = h("ul", { class: "payment-list" });
    this.note = h("p", { class: "quiet note", role: "status" });
    this.trouble = h("p", { class: "quiet", hidden: true });
    this.more = h("button", { type: "button", class: "plain", hidden: true, onclick: () => this.#older() }, "Older payments");
    this.element = h(
      "section",
      { class: "card payments", "aria-labelledby": "payments" },
      h("div", { class: "head" }, h("h2", { id: "payments" }, "Latest payments"), h("span", { class: "grow" }), this.note),
      this.trouble,
      this.list,
      h("div", { class: "actions" }, this.more),
    );
    this.asking = new Repeated(EVERY_S, () => this.#refresh());
  }

  show() {
    this.asking.begin();
  }

  hide() {
    this.asking.end();
  }

  /** A payment has come or changed. */
  changed() {
    this.asking.now();
  }

  #older() {
    this.limit = Math.min(this.limit + 4 * PAGE, MOST);
    this.asking.now();
  }

  async #refresh() {
    try {
      // One that is not known stands out until it is, however many came since.
      const [latest, open] = await Promise.all([`limit=${this.limit}`, `limit=${MOST}&state=unknown`].map((which) => this.api.get(`/payments?${which}`, { quiet: true })));
      this.trouble.hidden = true;
      this.#draw(latest, open);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      // A key that may not pay may not look, either.
      if (error.status === 403) this.asking.end();
      say(this.trouble, error.status === 403 ? error.message : `${error.message} What is shown may be old.`);
      this.trouble.hidden = false;
    }
  }

  #draw({ payments: latest, next_cursor: more }, { payments: open, next_cursor: evenMore }) {
    const payments = [...open, ...latest.filter(({ state }) => state !== "unknown")];
    const number = `${open.length}${evenMore === null ? "" : " or more"}`;
    say(this.note, payments.length === 0 ? "None was made here yet." : open.length > 0 ? `${number} not known yet` : "");
    this.note.classList.toggle("doubt", open.length > 0);
    this.more.hidden = more === null || this.limit >= MOST;
    const drawn = JSON.stringify(payments);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    put(this.list, payments.map(entry));
  }
}

function entry(record) {
  const facts = [`from ${record.accountB}`, when(record.created_at), record.bank_reference].filter(Boolean).join(" · ");
  return h(
    "li",
    { class: `payment is-${record.state}` },
    h("p", {}, h("span", {}, h("strong", {}, `${grouped(record.amount)} ${record.currency}`), " to ", record.accountA), stateOf(record)),
    h("p", { class: "quiet small" }, h("span", { class: "cut", title: facts }, facts), h("span", {}, bankSays(record))),
    record.state === "unknown" && h("p", { class: "doubt small" }, "It may be booked: do not pay it in another way."),
  );
}
