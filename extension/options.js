// The options: address and key, kept after a call with them has succeeded.

import { Api, ApiError } from "./api.js";
import { say } from "./dom.js";
import { checkedAddress, readSettings } from "./settings.js";

const [address, key, said] = ["address", "key", "said"].map((id) => document.getElementById(id));
say(document.getElementById("origin"), location.origin);

document.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  said.classList.remove("wrong");
  say(said, "Asking …");
  try {
    const origin = checkedAddress(address.value);
    const status = await new Api(origin, key.value.trim()).get("/status");
    await chrome.storage.local.set({ address: origin, key: key.value.trim() });
    address.value = origin;
    say(said, `Saved. Paydesk ${status.version} answers; its bank is ${status.bank}.`);
  } catch (error) {
    const silent = error instanceof ApiError && error.status === 0;
    const hint = "Look whether it runs, whether it names this extension (below), and, with a certificate of your own, whether the browser opens its address without a warning.";
    say(said, silent ? `No answer from ${address.value}. ${hint}` : error.message);
    said.classList.add("wrong");
  }
});

// What is typed meanwhile stays.
const kept = await readSettings();
address.value ||= kept.address;
key.value ||= kept.key;
