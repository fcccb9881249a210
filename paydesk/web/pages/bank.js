// Which bank is behind the service, said on every screen.

import { say } from "./dom.js";

const KINDS = {
  sandbox: ["is-sandbox", "Sandbox bank: payments are answered, no money moves."],
  "none configured": ["is-none", "No bank is configured: payments cannot be sent."],
};

/** Says it in `place`; `name` as /status has it. */
export function bankIn(place, name) {
  const [kind, words] = KINDS[name] ?? ["is-real", `Bank: ${name}`];
  say(place, words);
  place.className = `bank ${kind}`;
  place.hidden = false;
}
