// From a filled form to the bank's word: review in words with the risk, one confirmation, the outcome.

import { ApiError } from "./api.js";
import { h, put, say } from "./dom.js";
import { Form } from "./form.js";
import { grouped } from "./money.js";
import { alikeIn, factsOf } from "./record.js";
import { riskOf } from "./risk.js";
import { Sending } from "./sending.js";

const SHORTEST_REASON = 3; // letters or digits, as /payment counts them

export class Pay {
  constructor(api, store) {
    this.api = api;
    this.form = new Form(store);
    this.sending = new Sending(api, store);
    this.told = h("p", { class: "told", role: "status" });
    this.review = h("button", { type: "submit", class: "primary" }, "Review the payment");
    this.clear = h("button", { type: "button", class: "plain", onclick: () => this.#anew() }, "Clear the form");
    this.step = h("div", { class: "step" });
    this.reviewed = null; // what /review said, and the body it said it of
    this.turnedAway = null; // a reading that came while the form was locked
    this.busy = false;
    const actions = h("div", { class: "actions" }, this.review, this.clear);
    const form = h("form", { novalidate: true, onsubmit: (event) => this.#ask(event) }, this.form.element, this.told, actions);
    this.element = h("section", { class: "pay", "aria-label": "Payment" }, h("h2", { class: "unseen" }, "Payment"), form, this.step);
    this.form.addEventListener("input", () => this.#changed());
    this.sending.addEventListener("change", () => this.#show());
    this.#show();
    this.sending.resume();
  }

  /** Whether a mail may fill the form now. */
  get open() {
    return !this.sending.locked;
  }

  /** Takes what was read, now or with the next payment; null: there is no mail any more. */
  fill(reading) {
    this.turnedAway = this.open ? null : reading;
    if (!this.open || !reading) return;
    if (this.sending.settled || this.sending.phase === "made") this.form.clear();
    this.form.fill(reading);
    this.#changed();
  }

  #changed() {
    if (this.reviewed) {
      this.reviewed = null;
      say(this.told, "The form has changed: review it again.");
    }
    if (this.sending.changed()) {
      say(this.told, "You changed the form after a payment was sent: this is a new payment, with a key of its own. The one before stays as it is.");
    }
    this.#show();
  }

  #anew() {
    if (this.busy || (!this.open && !this.sending.state.record && !this.sending.stale)) return;
    this.sending.startAnew();
    this.reviewed = null;
    this.form.clear();
    if (this.turnedAway) this.fill(this.turnedAway);
    say(this.told, "");
    this.#show();
    this.form.parts.accountA.input.focus();
  }

  async #ask(event) {
    event.preventDefault();
    if (this.busy || this.sending.locked) return;
    const body = this.form.body();
    if (!body) return;
    this.busy = true;
    say(this.told, "Checking …");
    this.#show();
    try {
      const answer = await this.api.post("/review", body);
      // What was typed meanwhile is not what was reviewed.
      if (JSON.stringify(this.form.body()) === JSON.stringify(body)) this.reviewed = { body, answer };
      say(this.told, "");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.busy = false;
      this.#show(); // A field that is locked takes no focus.
      const named = this.form.showErrors(error.problem.errors);
      say(this.told, named ? "" : error.message);
      this.told.classList.toggle("wrong", !named);
      return;
    } finally {
      this.busy = false;
    }
    this.told.classList.remove("wrong");
    this.#show();
    this.step.querySelector("h3")?.focus();
  }

  /** An earlier payment like this one: it may be the same, so it takes one word more. */
  #alike(record) {
    const said = h("p", { class: "said", id: "meant-said" });
    const meant = h("input", { type: "checkbox", id: "meant", ".checked": Boolean(this.reviewed.meant), "aria-describedby": "meant-said", onchange: () => { this.reviewed.meant = meant.checked; } });
    return h("div", { class: "notice" }, h("p", {}, alikeIn(record)), h("p", { class: "meant" }, meant, h("label", { for: "meant" }, "This is another payment: pay it, too")), said);
  }

  /** Whether a payment like an earlier one is meant to be another one. */
  #isMeant() {
    if (!this.reviewed?.answer.alike || this.reviewed.meant) return true;
    const said = this.step.querySelector("#meant-said");
    say(said, "Say that it is another one, or go back.");
    said.classList.add("wrong");
    this.step.querySelector("#meant").focus();
    return false;
  }

  async #confirm() {
    if (!this.reviewed || !this.#isMeant()) return;
    await this.#send(this.sending.confirm(this.reviewed.body, this.reviewed.answer.alike));
  }

  async #send(sent) {
    await sent;
    if (this.sending.phase === "unsent" && this.form.showErrors(this.sending.state.problem?.errors)) return;
    this.step.querySelector("h3")?.focus();
  }

  #show() {
    const { phase } = this.sending;
    this.form.locked = this.sending.locked || this.busy;
    this.review.disabled = this.clear.disabled = this.busy;
    const settledView = phase !== "editing";
    this.review.hidden = settledView || Boolean(this.reviewed);
    this.clear.hidden = settledView;
    this.step.className = `step step-${this.reviewed && phase === "editing" ? "review" : phase}`;
    const shown = { editing: () => this.#summary(), sending: () => this.#under(), held: () => this.#held(), alike: () => this.#cameSince(), unsent: () => this.#unsent(), unknown: () => this.#unknown(), made: () => this.#made(), refused: () => this.#refused() };
    this.#keepingFocus(() => put(this.step, shown[phase]()));
  }

  /** Redrawing every few seconds must not take a word or the focus from who is typing. */
  #keepingFocus(draw) {
    const before = document.activeElement;
    const name = this.step.contains(before) ? before.dataset.name : null;
    draw();
    if (name) this.step.querySelector(`[data-name="${name}"]`)?.focus();
  }

  #summary() {
    if (!this.reviewed) return [];
    const { answer } = this.reviewed;
    const account = (masked) => (masked ? ` (${masked.replace("****", "account ending ")})` : "");
    const sent = answer.executionDate === new Date().toISOString().slice(0, 10) ? "today" : `on ${answer.executionDate}`;
    return [
      heading("Is this right?"),
      h(
        "p",
        { class: "words" },
        "Pay ", h("strong", {}, `${grouped(answer.amount)} ${answer.currency}`),
        " to ", h("strong", {}, answer.accountA), account(answer.creditorAccount),
        " from ", h("strong", {}, answer.accountB), account(answer.debtorAccount),
        `, ${sent}.`,
      ),
      answer.remittance && h("p", { class: "quiet" }, `Message to the payee: ${answer.remittance}`),
      riskOf(answer),
      answer.held && h("p", { class: "notice" }, "At this risk the payment will be held, and you will be asked why it may go."),
      answer.alike && this.#alike(answer.alike),
      h("p", { class: "quiet" }, answer.sandbox ? "It goes to the sandbox bank: no money moves." : "It goes to the bank: money moves."),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", class: "primary", "data-name": "confirm", onclick: () => this.#confirm() }, "Confirm and pay"),
        h("button", { type: "button", class: "plain", onclick: () => this.#back() }, "Back to the form"),
      ),
    ];
  }

  #back() {
    this.reviewed = null;
    this.#show();
    this.review.focus();
  }

  #under() {
    return [heading("Sending …"), this.#words(), h("p", { class: "quiet" }, "The bank is being asked. This can take up to a minute; the payment is sent once, whatever happens here.")];
  }

  #held() {
    const { decision, problem } = this.sending.state;
    const counted = h("p", { class: "said", id: "reason-said" });
    const input = h("textarea", {
      id: "reason", rows: "2", maxlength: "500", "data-name": "reason", "aria-describedby": "reason-said",
      ".value": this.sending.state.reason ?? "",
      oninput: () => { this.sending.reason = input.value; },
    });
    const pay = () => {
      const reason = input.value.replace(/\s+/g, " ").trim();
      if ((reason.match(/[\p{L}\p{N}]/gu) ?? []).length < SHORTEST_REASON) {
        say(counted, `Say in words why it may go: at least ${SHORTEST_REASON} letters.`);
        counted.classList.add("wrong");
        input.setAttribute("aria-invalid", "true");
        input.focus();
        return;
      }
      this.#send(this.sending.confirmHeld(reason));
    };
    return [
      heading("Held: this payment needs your word"),
      this.#words(),
      riskOf(decision),
      problem && h("p", { class: "notice wrong" }, problem.error),
      h("p", {}, "No money moved. If it is meant, say why; the reason is kept with the payment."),
      h("div", { class: "field" }, h("label", { for: "reason" }, "Why it may go"), input, counted),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", class: "primary danger", onclick: pay }, "Pay all the same"),
        h("button", { type: "button", class: "plain", onclick: () => this.#edit() }, "Back to the form"),
      ),
    ];
  }

  #cameSince() {
    return [
      heading("Another payment like this was made"),
      this.#words(),
      h("p", { class: "notice" }, alikeIn(this.sending.state.alike)),
      h("p", {}, "It came since you reviewed this one, which was not sent."),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", class: "primary danger", onclick: () => this.#send(this.sending.confirmBeside()) }, "This is another: pay it, too"),
        h("button", { type: "button", class: "plain", onclick: () => this.#edit() }, "Back to the form"),
      ),
    ];
  }

  #unsent() {
    const { problem } = this.sending.state;
    return [
      heading("Not sent"),
      h("p", { class: "notice wrong" }, problem.error),
      h("p", {}, "This payment was not sent; no money moved. Nothing you typed is lost."),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", class: "primary", onclick: () => this.#send(this.sending.again()) }, "Send it again"),
        h("button", { type: "button", class: "plain", onclick: () => this.#edit() }, "Back to the form"),
      ),
    ];
  }

  #unknown() {
    const { problem, record } = this.sending.state;
    const { stale } = this.sending;
    return [
      heading("Not known yet whether it was paid"),
      this.#words(),
      problem && h("p", { class: "notice" }, problem.error),
      h("p", {}, "The payment may be booked. Do not pay it in another way: ", stale ? "asking again repeats it under its own key, which the bank books once." : "this page goes on asking, under the same key, which the bank books once."),
      record && factsOf(record),
      h(
        "div",
        { class: "actions" },
        this.sending.repeats && h("button", { type: "button", class: stale ? "primary" : "plain", onclick: () => this.sending.again() }, "Ask again now"),
        (record || stale) && h("button", { type: "button", class: "plain", onclick: () => this.#anew() }, "Leave it, begin another payment"),
      ),
    ];
  }

  #made() {
    const { record, problem } = this.sending.state;
    const settled = this.sending.settled;
    return [
      heading(settled ? "Paid" : "The bank has the payment"),
      this.#words(),
      factsOf(record),
      !settled && h("p", { class: "quiet" }, "This page follows it until it is settled."),
      problem && h("p", { class: "notice" }, problem.error),
      this.#next(),
    ];
  }

  #refused() {
    const { record, problem } = this.sending.state;
    const why = record.history?.at(-1)?.detail;
    return [
      heading("Refused: no money moved"),
      this.#words(),
      (problem?.error || why) && h("p", { class: "notice wrong" }, problem?.error ?? why),
      factsOf(record),
      this.#next(),
    ];
  }

  #next() {
    return h("div", { class: "actions" }, h("button", { type: "button", class: "primary", "data-name": "next", onclick: () => this.#anew() }, "New payment"), h("span", { class: "quiet" }, "or change the form above, which makes it another payment"));
  }

  #edit() {
    this.sending.changed();
    this.reviewed = null;
    this.#show();
    this.review.focus();
  }

  #words() {
    const body = this.sending.state.body;
    return h("p", { class: "words" }, `${grouped(body.amount)} ${body.currency ?? ""} to `, h("strong", {}, body.accountA), " from ", h("strong", {}, body.accountB));
  }
}

function heading(text) {
  return h("h3", { tabindex: "-1" }, text);
}

