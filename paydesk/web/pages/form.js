// The payment form: fields that are checked while they are typed, and what the mail said of each.

import { freshId, h, put, say } from "./dom.js";
import { inGroups, readIban } from "./iban.js";
import { grouped, readAmount, readCurrency } from "./money.js";

const NAME = "form";
const UNSURE = 0.8; // docs/reading.md: below this a person should look
const LATIN = /[^A-Za-z0-9/\-?:().,'+ ]/;

export const LABELS = { accountA: "Payee", accountB: "Payer", amount: "Amount", currency: "Currency" };

const ACCOUNTS = { accountA: ["creditorAccount", "creditorAgent"], accountB: ["debtorAccount"] };

const FIELDS = [
  { name: "accountA", label: LABELS.accountA, hint: "who is paid", check: latin(70), need: "Enter who is paid.", maxlength: 70 },
  { name: "creditorAccount", label: "Payee's IBAN", hint: "optional", placeholder: "the configured account", check: iban },
  { name: "amount", label: LABELS.amount, check: amount, inputmode: "decimal" },
  { name: "currency", label: LABELS.currency, check: currency, list: true, maxlength: 10 },
  { name: "accountB", label: LABELS.accountB, hint: "who pays", check: latin(70), need: "Enter who pays.", maxlength: 70 },
  { name: "debtorAccount", label: "Payer's IBAN", hint: "optional", placeholder: "the configured account", check: iban },
  { name: "remittance", label: "Message to the payee", hint: "optional", placeholder: "a reference of ours", check: latin(140), maxlength: 140 },
  { name: "executionDate", label: "On", hint: "empty: today", type: "date", check: free },
  { name: "creditorAgent", label: "Payee's BIC", hint: "where its bank is not known", check: free, rare: true, maxlength: 11 },
];

/** Events: input (a person changed something), valid to be read with `body()`. */
export class Form extends EventTarget {
  constructor(store) {
    super();
    this.store = store;
    const kept = store.get(NAME) ?? {};
    this.reading = kept.reading ?? null;
    this.touched = new Set(kept.touched ?? []);
    this.told = new Set(); // fields whose error is shown: left once, or asked for
    this.served = {}; // errors that the service found
    this.parts = {};
    this.element = h("fieldset", { class: "form" }, h("legend", { class: "unseen" }, "Payment"), FIELDS.map((field) => this.#row(field)));
    for (const [name, value] of Object.entries(kept.values ?? {})) {
      if (this.parts[name]) this.parts[name].input.value = value;
    }
    this.#look();
  }

  /** Fills what the mail says, save where a person has written something else. */
  fill(reading) {
    this.reading = reading;
    const before = Object.keys(ACCOUNTS).map((name) => [name, this.parts[name].input.value]);
    for (const name of Object.keys(LABELS)) {
      if (!this.touched.has(name)) this.parts[name].input.value = shown(name, reading[name]);
    }
    // An account that was typed for one payee is not the next one's.
    for (const [name, was] of before) {
      if (!was || this.parts[name].input.value === was) continue;
      for (const account of ACCOUNTS[name]) this.parts[account].input.value = "";
    }
    this.#keep();
  }

  /** A person gives a field its value, by a click or a selection in the mail. */
  assign(name, value) {
    this.touched.add(name);
    this.told.add(name);
    this.parts[name].input.value = shown(name, value);
    this.#keep();
    this.dispatchEvent(new Event("input"));
  }

  clear() {
    this.reading = null;
    this.touched.clear();
    this.told.clear();
    this.served = {};
    for (const { input } of Object.values(this.parts)) input.value = "";
    this.#keep();
  }

  set locked(locked) {
    this.element.disabled = locked;
  }

  /** The fields as /payment takes them, or null: then every error is shown, and the first in focus. */
  body() {
    const found = this.#found();
    const wrong = FIELDS.filter((field) => found[field.name].error);
    for (const field of FIELDS) this.told.add(field.name);
    this.#look();
    if (wrong.length > 0) {
      this.parts[wrong[0].name].input.focus();
      return null;
    }
    return Object.fromEntries(Object.entries(found).filter(([, { value }]) => value).map(([name, { value }]) => [name, value]));
  }

  /** Shows what the service has found; true where it named a field that is here. */
  showErrors(errors = []) {
    this.served = Object.fromEntries(errors.filter(({ field }) => this.parts[field]).map(({ field, reason }) => [field, reason]));
    this.#look();
    const first = FIELDS.find(({ name }) => this.served[name]);
    if (first) this.parts[first.name].input.focus();
    return Boolean(first);
  }

  #row(field) {
    const id = freshId(field.name);
    const input = h("input", {
      id,
      name: field.name,
      type: field.type ?? "text",
      inputmode: field.inputmode,
      placeholder: field.placeholder,
      maxlength: field.maxlength,
      list: field.list && `${id}-list`,
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      required: Boolean(LABELS[field.name]),
      "aria-describedby": `${id}-said ${id}-read`,
      oninput: () => this.#typed(field.name),
      onblur: () => this.#left(field),
    });
    const said = h("p", { class: "said", id: `${id}-said` });
    const read = h("div", { class: "read", id: `${id}-read` });
    const row = h(
      "div",
      { class: `field field-${field.name}${field.rare ? " rare" : ""}` },
      h("label", { for: id }, field.label, field.hint && [" ", h("span", { class: "quiet hint" }, field.hint)]),
      input,
      field.list && h("datalist", { id: `${id}-list` }, ["EUR", "USD", "GBP", "CHF", "SEK", "PLN"].map((code) => h("option", { value: code }))),
      said,
      read,
    );
    this.parts[field.name] = { input, said, read, row };
    return row;
  }

  #typed(name) {
    this.touched.add(name);
    delete this.served[name];
    this.#keep();
    this.dispatchEvent(new Event("input"));
  }

  #left(field) {
    const { input } = this.parts[field.name];
    if (input.value) this.told.add(field.name);
    const { value } = field.check(input.value, this.#currency());
    if (field.check === iban && value) input.value = inGroups(value);
    if (field.check === currency && value) input.value = value;
    this.#keep();
  }

  #currency() {
    return readCurrency(this.parts.currency.input.value).value;
  }

  #found() {
    return Object.fromEntries(
      FIELDS.map((field) => {
        const typed = this.parts[field.name].input.value;
        const result = field.check(typed, this.#currency());
        if (field.need && !typed.trim()) return [field.name, { error: field.need }];
        return [field.name, result];
      }),
    );
  }

  #keep() {
    const values = Object.fromEntries(Object.entries(this.parts).map(([name, { input }]) => [name, input.value]));
    this.store.set(NAME, { values, touched: [...this.touched], reading: this.reading });
    this.#look();
  }

  #look() {
    const found = this.#found();
    for (const field of FIELDS) {
      const { input, said, read, row } = this.parts[field.name];
      const { error, value, partial } = found[field.name];
      const typed = input.value.trim() !== "";
      // While a word is still being written it is not told that it is wrong.
      const quietly = partial && document.activeElement === input;
      const wrong = this.served[field.name] ?? (error && (this.told.has(field.name) || (typed && !partial)) ? error : null);
      say(said, wrong ?? (quietly ? error : note(field, value, typed)) ?? "");
      said.classList.toggle("wrong", Boolean(wrong) && !quietly);
      if (wrong && !quietly) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
      if (field.rare) row.hidden = !typed && !wrong && !this.parts.creditorAccount.input.value.trim();
      if (LABELS[field.name]) this.#sayReading(field.name, read, row);
    }
  }

  /** What the mail says of a field, how sure that is, and what else it may be. */
  #sayReading(name, place, row) {
    const reading = this.reading;
    row.classList.remove("unsure");
    const key = JSON.stringify([reading?.[name], reading?.confidence[name], reading?.alternatives, this.parts[name].input.value]);
    if (place.dataset.key === key) return;
    place.dataset.key = key;
    if (!reading) {
      put(place);
      return;
    }
    const now = this.parts[name].input.value;
    const read = reading[name];
    const sure = `${Math.round(reading.confidence[name] * 100)} % sure`;
    const same = read !== null && shown(name, read) === now;
    const unsure = reading.confidence[name] < UNSURE;
    const others = reading.alternatives.filter((other) => other.field === name && shown(name, other.value) !== now);
    const chips = others.map((other) => this.#chip(name, other.value, `${Math.round(other.confidence * 100)} %`));
    if (read !== null && !same) chips.unshift(this.#chip(name, read, sure));
    let words = "";
    if (same) words = unsure ? `Mail: only ${sure}, look at it` : `Mail: ${sure}`;
    else if (read === null && now === "") words = "Not in the mail";
    put(place, words && h("span", { class: same && unsure ? "doubt" : "quiet" }, words), chips.length > 0 && h("span", { class: "quiet" }, "or"), chips);
  }

  #chip(name, value, share) {
    return h(
      "button",
      { type: "button", class: "chip", onclick: () => this.assign(name, value) },
      shown(name, value),
      h("small", {}, share),
    );
  }
}

// 1,250 alone would be in doubt again: groups are for amounts with decimals.
function shown(name, value) {
  if (value === null || value === undefined) return "";
  return name === "amount" && /^[0-9]+\.[0-9]+$/.test(value) ? grouped(value) : value;
}

function note(field, value, typed) {
  if (field.check === amount && value && typed) return null;
  if (field.check === iban && value) return "Length and check digits fit.";
  return null;
}

function amount(typed, code) {
  return readAmount(typed, code);
}

function currency(typed) {
  return readCurrency(typed);
}

function iban(typed) {
  return readIban(typed);
}

function free(typed) {
  return { value: typed.trim() };
}

function latin(most) {
  return (typed) => {
    const text = typed.trim();
    const foreign = text.match(LATIN);
    if (foreign) {
      const plain = text.normalize("NFKD").replace(/\p{M}/gu, "");
      const such = LATIN.test(plain) ? "" : ` For example ${plain}`;
      const sign = foreign[0].codePointAt(0) < 128 ? `“${foreign[0]}”` : `“${String.fromCodePoint(text.codePointAt(foreign.index))}”`;
      return { error: `Banks take a-z, A-Z, 0-9, blanks and / - ? : ( ) . , ' + and not ${sign}.${such}` };
    }
    if (text.length > most) return { error: `${text.length} characters; ${most} are the most.` };
    return { value: text };
  };
}

