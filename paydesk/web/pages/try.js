// Try a transaction: a form, the ten examples of `paydesk try`, the decision, the request as curl.

import { ApiError } from "./api.js";
import { h, put, say } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { riskOf } from "./risk.js";

const FIELDS = [
  { name: "tx_id", label: "Transaction", type: "text", maxlength: 200 },
  { name: "amount", label: "Amount", type: "text", inputmode: "decimal" },
  { name: "category", label: "Category", type: "text", maxlength: 200 },
  { name: "hour", label: "Hour", type: "text", inputmode: "numeric", hint: "0 to 23; empty: 12" },
  { name: "store", label: "Store", type: "text", maxlength: 200 },
];
const NAME = "try";

export class Try {
  constructor(api, store) {
    this.api = api;
    this.store = store;
    this.parts = {};
    this.answer = h("div", { class: "answer", "aria-live": "polite" });
    this.curl = h("code", {});
    this.copied = h("span", { class: "quiet", role: "status" });
    this.send = h("button", { type: "submit", class: "primary" }, "Score it");
    this.all = h("button", { type: "button", class: "plain", onclick: () => this.#everyone() }, "Score all ten");
    const categories = h("datalist", { id: "categories" }, [...new Set(EXAMPLES.map(({ category }) => category))].map((value) => h("option", { value })));
    const form = h(
      "form",
      { class: "card", novalidate: true, onsubmit: (event) => this.#ask(event) },
      h("h2", {}, "Try a transaction"),
      h("div", { class: "examples", role: "group", "aria-label": "Examples" }, EXAMPLES.map((tx) => h("button", { type: "button", class: "chip", onclick: () => this.#fill(tx) }, tx.tx_id, h("small", {}, `${tx.amount} ${tx.category}`)))),
      h("div", { class: "form" }, FIELDS.map((field) => this.#row(field)), categories),
      h("div", { class: "actions" }, this.send, this.all),
    );
    const copy = h("button", { type: "button", class: "plain", onclick: () => this.#copy() }, "Copy");
    this.element = h(
      "div",
      { class: "try" },
      form,
      h("section", { class: "card", "aria-label": "Decision" }, h("h3", {}, "Decision"), this.answer, h("div", { class: "head" }, h("h3", {}, "The same as curl"), h("span", { class: "grow" }), this.copied, copy), h("pre", { tabindex: "0", role: "region", "aria-label": "The request as curl" }, this.curl)),
    );
    put(this.answer, h("p", { class: "quiet" }, "Not scored yet."));
    this.#fill(store.get(NAME) ?? EXAMPLES[2]);
  }

  #row({ name, label, hint, ...attributes }) {
    const id = `try-${name}`;
    const said = h("p", { class: "said", id: `${id}-said` });
    const input = h("input", { id, ...attributes, list: name === "category" && "categories", autocomplete: "off", spellcheck: "false", "aria-describedby": `${id}-said`, oninput: () => this.#typed() });
    this.parts[name] = { input, said };
    return h("div", { class: `field field-${name}` }, h("label", { for: id }, label, hint && [" ", h("span", { class: "quiet hint" }, hint)]), input, said);
  }

  #fill(tx) {
    for (const { name } of FIELDS) this.parts[name].input.value = tx[name] ?? "";
    this.#typed();
  }

  #typed() {
    this.#complain([]);
    const tx = this.#transaction();
    this.store.set(NAME, tx);
    say(this.curl, curlOf(tx, this.api));
  }

  /** The transaction as typed: what is no number goes as text, and the service says what is wrong. */
  #transaction() {
    const typed = Object.fromEntries(FIELDS.map(({ name }) => [name, this.parts[name].input.value.trim()]).filter(([, value]) => value !== ""));
    for (const name of ["amount", "hour"]) {
      if (/^-?[0-9]+(\.[0-9]+)?$/.test(typed[name] ?? "")) typed[name] = Number(typed[name]);
    }
    return typed;
  }

  #complain(errors) {
    for (const { name } of FIELDS) {
      const reason = errors.find(({ field }) => field === name)?.reason ?? "";
      const { input, said } = this.parts[name];
      say(said, reason);
      said.classList.toggle("wrong", reason !== "");
      if (reason) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
  }

  async #ask(event) {
    event.preventDefault();
    await this.#busy(async () => {
      const decision = await this.api.post("/score", this.#transaction());
      put(this.answer, riskOf(decision), h("p", { class: "quiet" }, `Transaction ${decision.tx_id}, decision `, h("code", {}, decision.decision_id)));
    });
  }

  async #everyone() {
    await this.#busy(async () => {
      const decisions = [];
      for (const tx of EXAMPLES) decisions.push(await this.api.post("/score", tx));
      const count = (level) => decisions.filter(({ risk_level: found }) => found === level).length;
      put(this.answer, h("p", {}, `Ten scored: CRITICAL ${count("CRITICAL")}, HIGH ${count("HIGH")}, MEDIUM ${count("MEDIUM")}, LOW ${count("LOW")}. The monitor has them.`));
    });
  }

  async #busy(work) {
    if (this.send.disabled) return;
    this.send.disabled = this.all.disabled = true;
    try {
      await work();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#complain(error.problem.errors ?? []);
      put(this.answer, h("p", { class: "notice wrong" }, error.message));
    } finally {
      this.send.disabled = this.all.disabled = false;
    }
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.curl.textContent);
      say(this.copied, "Copied.");
    } catch {
      getSelection().selectAllChildren(this.curl);
      say(this.copied, "Selected: copy it with the keyboard.");
    }
  }
}

function curlOf(tx, api) {
  const quoted = JSON.stringify(tx).replaceAll("'", "'\\''");
  const key = api.key ? ' \\\n  -H "Authorization: Bearer $PAYDESK_KEY"' : "";
  return `curl -s ${api.base || location.origin}/score \\\n  -H 'Content-Type: application/json'${key} \\\n  -d '${quoted}'`;
}
