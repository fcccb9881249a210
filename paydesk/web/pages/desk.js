// The desk: which view is shown, who is signed in, which bank is behind it, what is slow or gone.

import { hold, holdAgain } from "./alone.js";
import { Api, ApiError } from "./api.js";
import { bankIn } from "./bank.js";
import { h, put, say } from "./dom.js";
import { Mail } from "./mail.js";
import { Monitor } from "./monitor.js";
import { Pay } from "./pay.js";
import { Payments } from "./payments.js";
import { Store } from "./store.js";
import { Try } from "./try.js";

const VIEWS = { pay: "Pay", monitor: "Monitor", try: "Try a transaction" };

const store = new Store(sessionStorage);
const api = new Api("", store.get("key") ?? "");
const place = Object.fromEntries(["pay", "monitor", "try", "signin"].map((name) => [name, document.getElementById(name)]));
const bank = document.getElementById("bank");
const weather = document.getElementById("weather");
const leave = document.getElementById("leave");
let monitor = null;
let payments = null;

/** A tab that was duplicated has a copy of all that was kept: the payment stays with the first. */
async function ownPayment() {
  const mine = store.get("tab");
  if (mine !== null && (await holdAgain(mine))) return;
  if (mine !== null) store.remove("payment");
  const fresh = crypto.getRandomValues(new Uint32Array(2)).join("-");
  await hold(fresh);
  store.set("tab", fresh);
}

function route() {
  const name = location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "pay";
  const locked = monitor === null;
  for (const [other, section] of Object.entries(place)) section.hidden = other !== (locked ? "signin" : name);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${VIEWS[name]} · Paydesk`;
  for (const [view, part] of [["pay", payments], ["monitor", monitor]]) {
    if (name === view) part?.show();
    else part?.hide();
  }
}

function build() {
  const pay = new Pay(api, store);
  const mail = new Mail(api, store, {
    onread: (reading) => pay.fill(reading),
    onassign: (field, text) => pay.open && pay.form.assign(field, text),
  });
  payments = new Payments(api);
  pay.sending.addEventListener("change", () => pay.sending.state.record && payments.changed());
  put(place.pay, mail.element, pay.element, payments.element);
  monitor = new Monitor(api);
  put(place.monitor, monitor.element);
  put(place.try, new Try(api, store).element);
}

function signIn(sentence) {
  if (!place.signin.hidden && place.signin.querySelector("form")) return;
  const said = h("p", { class: "said wrong", id: "key-said", role: "alert" }, sentence);
  const key = h("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "key-said key-how" });
  const form = h(
    "form",
    { class: "card", novalidate: true, onsubmit: async (event) => {
      event.preventDefault();
      api.key = key.value.trim();
      try {
        const status = await api.get("/status");
        store.set("key", api.key);
        enter(status);
      } catch (error) {
        api.key = "";
        say(said, key.value.trim() ? error.message : "Enter a key.");
        key.focus();
      }
    } },
    h("h2", {}, "Sign in"),
    h("p", { class: "quiet", id: "key-how" }, "This Paydesk asks for an API key. Whoever runs it makes one with ", h("code", {}, "paydesk keys new"), ". It is kept until this tab is closed, and is never part of an address."),
    h("div", { class: "field" }, h("label", { for: "key" }, "API key"), key, said),
    h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Sign in")),
  );
  put(place.signin, form);
  for (const [name, section] of Object.entries(place)) section.hidden = name !== "signin";
  key.focus();
}

function enter(status) {
  const models = Object.entries(status.models).map(([name, version]) => `${name} ${version}`);
  say(document.getElementById("versions"), `Paydesk ${status.version} · ${models.join(" · ")}`);
  bankIn(bank, status.bank);
  leave.hidden = !api.key;
  put(place.signin);
  if (monitor === null) build();
  route();
}

async function begin() {
  try {
    const health = await api.get("/health");
    if (health.sandbox) bankIn(bank, "sandbox");
    enter(await api.get("/status"));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) return;
    put(place.signin, h("div", { class: "card" }, h("h2", {}, "Paydesk does not answer"), h("p", {}, error.message), h("p", { class: "quiet" }, "This page tries again by itself.")));
    place.signin.hidden = false;
    setTimeout(begin, 3000);
  }
}

let gone = false;
api.addEventListener("slow", () => {
  if (!gone) weatherSays("Paydesk takes longer than usual …");
});
api.addEventListener("answered", ({ detail }) => {
  gone = !detail.reached;
  weatherSays(gone ? "No connection to Paydesk. What you typed is kept; it goes on when Paydesk answers." : "");
});
api.addEventListener("signin", ({ detail }) => signIn(detail.sentence));
addEventListener("offline", () => weatherSays("This computer is offline. What you typed is kept."));
addEventListener("online", () => weatherSays(""));
addEventListener("hashchange", () => {
  route();
  document.getElementById("main").focus();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // The address says which view is shown.
  document.getElementById("main").focus();
});
leave.addEventListener("click", () => {
  store.remove("key");
  location.reload();
});

function weatherSays(text) {
  say(weather, text);
  weather.classList.toggle("is-on", text !== "");
}

await ownPayment();
begin();
