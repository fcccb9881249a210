// Sends one confirmed payment under one key, and follows it until nothing more will come.
//
// The key is made with the form and kept with it. Whatever breaks in between (a double click, a
// reload, a service that stops), the same payment goes again under the same key, which the service
// sends to the bank once.

import { ApiError } from "./api.js";
import { isSettled } from "./record.js";

const NAME = "payment";
const STATES = new Set(["recorded", "sent", "accepted", "rejected", "unknown"]);
const ASK_AFTER_S = 2;
const ASK_AT_LEAST_EVERY_S = 30;
// A confirmation is a word for now. A page that comes back later asks before it sends anything.
const REPEAT_FOR_S = 900;
const NONE_SEEN = "none"; // as /payment names it

/** Phases: editing, sending, held, alike, unsent, unknown, made, refused. Events: change. */
export class Sending extends EventTarget {
  constructor(api, store) {
    super();
    this.api = api;
    this.store = store;
    this.state = store.get(NAME) ?? fresh();
    this.waiting = null;
    this.underWay = false;
  }

  /** Takes up what a reload or a restart interrupted. */
  resume() {
    if (this.state.phase === "sending") this.#become({ phase: "unknown", doubt: true });
    if (isUnderWay(this.state)) this.#later(0);
  }

  get phase() {
    return this.state.phase;
  }

  /** Whether the fields must stay as they are. */
  get locked() {
    return this.phase === "sending" || this.phase === "unknown";
  }

  /** Whether nothing more will come of this payment. */
  get settled() {
    return settled(this.state);
  }

  /** Whether asking means to send it again: the service has nothing of it, or has not sent it on. */
  get repeats() {
    return !this.state.record || this.state.record.state === "recorded";
  }

  /** Whether a person has to say once more that it may be repeated. */
  get stale() {
    return this.repeats && Date.now() - this.state.confirmedAt > REPEAT_FOR_S * 1000;
  }

  /** Whether another service was asked: its keys and its bank are not those of this one. */
  get elsewhere() {
    return this.state.to !== undefined && this.state.to !== this.api.base;
  }

  /** The form has changed: another payment, another key. True where one was sent before it. */
  changed() {
    if (this.locked || this.phase === "editing") return false;
    const before = this.phase === "made" || this.phase === "refused";
    clearTimeout(this.waiting);
    this.#become(fresh());
    return before;
  }

  /** A form that begins anew. */
  startAnew() {
    if (this.locked && !this.stale && !this.state.record) return;
    clearTimeout(this.waiting);
    this.#become(fresh());
  }

  /** Why a held payment may go, as far as it is written. */
  set reason(reason) {
    this.state.reason = reason;
    this.store.set(NAME, this.state);
  }

  /** A person confirms, who saw the payment `alike` beside this one, or none. */
  async confirm(body, alike) {
    await this.#begin({ body: { ...body, beside: alike?.payment_id ?? NONE_SEEN } });
  }

  /** The person's word that this is another payment than the one that came since. */
  async confirmBeside() {
    const { body, alike } = this.state;
    await this.#begin({ body: { ...body, beside: alike.payment_id } });
  }

  /** The person's word that a held payment may go. */
  async confirmHeld(reason) {
    const { body, decision } = this.state;
    await this.#begin({ body: { ...body, override: { decision_id: decision.decision_id, reason } } });
  }

  async #begin(changes) {
    if (this.underWay || this.locked || this.phase === "made" || this.phase === "refused") return;
    if (this.#may({ ...changes, phase: "sending", to: this.api.base, confirmedAt: Date.now(), problem: null })) await this.#send();
  }

  /** Sends the same once more, under the same key: now, and because a person says so. */
  async again() {
    if (this.underWay || !this.state.body || this.elsewhere) return;
    clearTimeout(this.waiting);
    if (this.#may({ confirmedAt: Date.now(), phase: this.state.doubt ? "unknown" : "sending" })) await this.#send();
  }

  /** Keeps what is to be sent; false where it must not be: it is not sent, then. */
  #may(changes) {
    const kept = this.#become(changes);
    if (kept && navigator.onLine !== false) return true;
    // A payment whose key is forgotten by a reload could be sent twice.
    const forgets = "This browser keeps nothing for this page, so a reload could pay twice. Allow it to store data, then confirm again.";
    this.#become({ phase: this.state.doubt ? "unknown" : "unsent", problem: { error: kept ? "This computer is offline." : forgets } });
    if (this.state.doubt) this.#later(this.#patience());
    return false;
  }

  async #send() {
    if (this.underWay) return;
    this.underWay = true;
    const key = this.state.key;
    try {
      const headers = { "Idempotency-Key": key };
      this.#recorded(known(await this.api.post("/payment", this.state.body, { headers })));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#failed(error);
    } finally {
      this.underWay = false;
    }
  }

  #recorded(record) {
    const rejected = record.state === "rejected";
    const phase = rejected ? "refused" : record.state === "accepted" ? "made" : "unknown";
    this.#become({ record, phase, problem: null, doubt: phase === "unknown" });
    if (!this.settled) this.#later(this.#patience());
  }

  #failed(error) {
    const { status, problem } = error;
    // What stands between here and the service answers in its own words, and knows no outcome.
    const foreign = status >= 500 && !problem.request_id;
    const record = problem.payment ?? this.state.record;
    const doubt = this.state.doubt;
    if (status === 422 && problem.payment?.state === "rejected" && record.payment_id) {
      this.#become({ phase: "refused", record, problem, doubt: false });
    } else if (status === 403 && problem.decision && !doubt) {
      this.#become({ phase: "held", decision: problem.decision, problem: null });
    } else if (status === 409 && problem.alike) {
      // Nothing of ours was recorded, and what may still come of an earlier try is refused likewise.
      this.#become({ phase: "alike", alike: problem.alike, problem: null, doubt: false });
    } else if (status === 409 || status === 504 || status === 500 || status === 0 || foreign || doubt) {
      this.#become({ phase: "unknown", doubt: true, problem, record });
      this.#later(error.retryAfterS ? Math.min(error.retryAfterS, ASK_AT_LEAST_EVERY_S) : this.#patience());
    } else {
      this.#become({ phase: "unsent", problem, record: null });
    }
  }

  #patience() {
    const asked = (this.state.asked ?? 0) + 1;
    this.state.asked = asked;
    return Math.min(ASK_AFTER_S * 1.4 ** (asked - 1), ASK_AT_LEAST_EVERY_S);
  }

  #later(seconds) {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.#follow(), seconds * 1000);
  }

  async #follow() {
    const { key, to } = this.state;
    if (this.elsewhere) {
      const error = `This payment was confirmed at ${to || "another address"}. Set that address again to follow it; nothing of it is sent here.`;
      this.#become({ problem: { error } });
      return;
    }
    if (this.repeats) {
      if (this.stale) this.#tell();
      else await this.#send();
      return;
    }
    try {
      const found = known(await this.api.get(`/payment/${this.state.record.payment_id}`, { quiet: true }));
      if (this.state.key === key) this.#recorded(found);
    } catch (error) {
      if (this.state.key !== key) return;
      this.#become({ problem: error.problem ?? { error: error.message } });
      this.#later(this.#patience());
    }
  }

  #become(changes) {
    this.state = { ...this.state, ...changes };
    const kept = this.store.set(NAME, this.state);
    this.#tell();
    return kept;
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}

/** Whether something is still to come of a payment that was kept like this. */
export function isUnderWay(kept) {
  return ["sending", "unknown"].includes(kept?.phase) || (kept?.phase === "made" && !settled(kept));
}

function settled({ phase, record }) {
  return phase === "refused" || (phase === "made" && isSettled(record)) || record?.state === "rejected";
}

/** A payment as the service tells it. Raises ApiError for what is none. */
function known(record) {
  if (typeof record?.payment_id === "string" && STATES.has(record.state)) return record;
  throw new ApiError(0, { error: "What answered is no payment of Paydesk: look what runs at its address." });
}

function fresh() {
  return { key: newKey(), phase: "editing", body: null, record: null, decision: null, alike: null, reason: "", problem: null, doubt: false, asked: 0 };
}

// randomUUID is for secure contexts alone, and a desk may be served by plain HTTP.
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `desk-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
