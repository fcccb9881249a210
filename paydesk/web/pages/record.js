// How a payment stands: its state, what the bank says of it, and what else is known.

import { factList, h, when } from "./dom.js";

/** The bank's last words. */
const FINAL = new Set(["ACSC", "ACCC", "RJCT", "CANC"]);

/** What the bank's status codes (ISO 20022) mean to a person. */
const BANK_SAYS = {
  RCVD: "received", PDNG: "pending", PATC: "waits for another approval", ACTC: "technically accepted",
  ACCP: "profile accepted", ACFC: "funds checked", ACSP: "settlement in process",
  ACWC: "accepted with a change", ACWP: "accepted without posting", ACSC: "settled",
  ACCC: "settled, and credited to the payee", RJCT: "rejected", CANC: "cancelled",
};

const ALIKE = {
  recorded: "was recorded, and not sent,", sent: "was begun", unknown: "was begun, and may be booked,", accepted: "was made",
};

/** Whether nothing more will come of a payment. */
export function isSettled(record) {
  return record.state === "rejected" || (record.state === "accepted" && FINAL.has(record.bank_status));
}

/** Its state, in a colour and in a word. */
export function stateOf(record) {
  return h("span", { class: `state state-${record.state}` }, record.state);
}

/** The bank's status with what it means, or null. */
export function bankSays({ bank_status: status }) {
  if (!status) return null;
  return BANK_SAYS[status] ? `${status}: ${BANK_SAYS[status]}` : status;
}

/** A sentence about an earlier payment like the one that is reviewed. */
export function alikeIn(record) {
  const reference = record.bank_reference ? `, ${record.bank_reference}` : "";
  return `A payment like this ${ALIKE[record.state]} at ${when(record.created_at)} (${record.state}${reference}).`;
}

/** All of it that a person may want to know. */
export function factsOf(record) {
  const facts = [
    ["State", stateOf(record)],
    ["Bank's reference", record.bank_reference ?? "none yet"],
    ["Bank's status", bankSays(record) ?? "none yet"],
    ["Our payment", h("code", {}, record.payment_id)],
    ["Last change", when(record.updated_at)],
    record.note?.override && ["Let through because", record.note.override.reason],
    record.sandbox && ["Bank", "the sandbox: no money moved"],
  ];
  return factList(facts.filter(Boolean));
}
