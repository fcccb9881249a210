// Reads an amount as a person types it. Where it could be two sums it asks and never guesses.

import { DECIMALS } from "./currencies.js";

const MOST_DIGITS = 18;
const SPACES = /[\s\u00a0\u202f']/g;

/** `{value}`, plain decimal text for the service, or `{error}`, what to write instead. */
export function readAmount(typed, currency) {
  const text = typed.trim().replace(SPACES, "");
  if (!text) return { error: "Enter an amount." };
  if (/^-/.test(text)) return { error: "An amount is above 0." };
  if (!/^[0-9.,]+$/.test(text)) return { error: "Write digits alone, like 1250.00." };
  const plain = withoutGroups(text, DECIMALS[currency] ?? 2);
  if (plain === null) return { error: `${typed.trim()} can be read in two ways. Write it like 1250.00.` };
  const [whole, decimals = ""] = plain.split(".");
  const allowed = DECIMALS[currency];
  if (allowed !== undefined && decimals.length > allowed) {
    const such = allowed === 0 ? "no decimals" : `${allowed} decimals at most`;
    return { error: `${currency} has ${such}.` };
  }
  if (whole.length + (allowed ?? 2) > MOST_DIGITS) return { error: `A payment carries ${MOST_DIGITS} digits at most.` };
  if (/^[0.]*$/.test(plain)) return { error: "An amount is above 0." };
  return { value: plain };
}

/** `1250.00` as `1,250.00`. */
export function grouped(plain) {
  const [whole, decimals] = plain.split(".");
  const parts = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return decimals === undefined ? parts : `${parts}.${decimals}`;
}

/** Three capital letters that mean a currency, or what is wrong. */
export function readCurrency(typed) {
  const code = typed.trim().toUpperCase();
  if (!code) return { error: "Enter a currency, like EUR." };
  if (code in DECIMALS) return { value: code };
  return { error: `${code.slice(0, 10)} is no currency that can be paid in. Write three letters, like EUR.` };
}

function withoutGroups(text, decimals) {
  const marks = text.replace(/[0-9]/g, "");
  if (marks === "") return stripped(text);
  const last = marks.at(-1);
  const end = text.slice(text.lastIndexOf(last) + 1);
  if (marks.length === 1) {
    // 1.250 and 1,250 are a thousand to some and a little more than one to others.
    if (end.length === 3 && decimals !== 3) return null;
    if (last === "," && decimals === 3 && end.length === 3) return null;
    return /^[0-9]+[.,][0-9]+$/.test(text) ? stripped(text.replace(",", ".")) : null;
  }
  const other = last === "." ? "," : ".";
  if (!marks.includes(other)) {
    return grouping(text, last) ? stripped(text.replaceAll(last, "")) : null;
  }
  const whole = text.slice(0, text.lastIndexOf(last));
  if (whole.includes(last) || !end || !grouping(whole, other)) return null;
  return stripped(`${whole.replaceAll(other, "")}.${end}`);
}

function grouping(text, mark) {
  const [first, ...rest] = text.split(mark);
  return first.length >= 1 && first.length <= 3 && rest.every((part) => part.length === 3);
}

function stripped(plain) {
  return plain.replace(/^0+(?=[0-9])/, "").replace(/\.$/, "");
}
