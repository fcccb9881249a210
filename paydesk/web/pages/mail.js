// A mail to paste, drop or type, with the fields marked where they stand in it.
//
// The text is in a textarea, and the same text, unseen, lies below it with the marks: the browser's
// own editing, selecting and undoing stay, and what comes from a mail is never markup.

import { ApiError } from "./api.js";
import { h, put, say } from "./dom.js";
import { LABELS } from "./form.js";
import { Lines } from "./lines.js";
import { marksOf, shifted } from "./marks.js";

const NAME = "mail";
const READ_AFTER_MS = 600;
const LONGEST = 200_000;
const LARGEST_FILE = 700_000; // bytes; in base64 it fits a request, and text comes before attachments
const TURNING = /[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]/;
const SYMBOLS = { "€": "EUR", "£": "GBP", "₹": "INR", "zł": "PLN" };
const ORDER = ["accountA", "accountB", "amount", "currency"];

/** `onread(reading)` gets what the service read, `onassign(field, text)` what a person chose. */
export class Mail {
  constructor(api, store, { onread, onassign }) {
    this.api = api;
    this.store = store;
    this.onread = onread;
    this.onassign = onassign;
    this.marks = [];
    this.text = "";
    this.timer = null;
    this.asking = null;
    this.below = new Lines();
    this.input = h("textarea", {
      class: "text", id: "mail-text", dir: "auto", spellcheck: "false", maxlength: String(LONGEST),
      placeholder: "Paste a payment e-mail, drop an .eml file, or type.",
      "aria-describedby": "mail-said",
      oninput: (event) => this.#typed(event),
      onselect: () => this.#chosen(),
      onkeyup: () => this.#chosen(),
      onpointerup: () => setTimeout(() => this.#chosen()),
    });
    this.paper = h("div", { class: "paper" }, this.below.element, this.input);
    this.said = h("p", { class: "quiet said", id: "mail-said", role: "status" });
    this.file = h("input", { type: "file", id: "mail-file", class: "unseen", accept: ".eml,message/rfc822,.txt,text/plain", onchange: () => this.#open(this.file.files[0]) });
    this.legend = {};
    const tools = h("div", { class: "legend", role: "group", "aria-label": "What the selected text is" }, h("span", { class: "quiet" }, "Selected text is the"), ORDER.map((field) => this.#tool(field)));
    this.found = h("ul", { class: "found", "aria-label": "Found in the mail" });
    this.element = h(
      "section",
      { class: "mail", "aria-label": "Mail", ondragover: (event) => this.#over(event), ondragleave: () => this.paper.classList.remove("over"), ondrop: (event) => this.#dropped(event) },
      h(
        "div",
        { class: "head" },
        h("label", { for: "mail-text" }, "Mail"),
        h("span", { class: "grow" }),
        this.file,
        h("label", { for: "mail-file", class: "button plain" }, "Open a file"),
        h("button", { type: "button", class: "plain", onclick: () => this.set("") }, "Clear"),
      ),
      this.paper,
      tools,
      this.said,
      this.found,
    );
    // Whoever types on without a pause has nothing read, and keeps it all the same.
    addEventListener("pagehide", () => this.#keep());
    const kept = store.get(NAME);
    if (kept) {
      this.input.value = this.text = kept.text;
      this.marks = kept.marks;
    }
    this.#draw();
    this.#chosen();
  }

  /** Takes a whole text, and reads it at once. */
  set(text) {
    this.input.value = text.slice(0, LONGEST);
    this.marks = [];
    this.text = this.input.value;
    this.#draw();
    this.#keep();
    this.#readSoon(0);
    this.input.focus();
    this.input.setSelectionRange(0, 0);
    this.paper.scrollTop = 0;
  }

  #typed(event) {
    const text = this.input.value;
    const before = this.marks;
    this.marks = shifted(before, this.text, text);
    this.text = text;
    this.below.follow(text, this.marks);
    if (this.marks.length !== before.length) this.#list();
    this.#readSoon(event.inputType === "insertFromPaste" ? 0 : READ_AFTER_MS);
  }

  #readSoon(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.#keep();
      this.#read();
    }, ms);
  }

  async #read() {
    this.asking?.abort();
    const text = this.text;
    if (!text.trim()) {
      this.#say("");
      this.marks = [];
      this.#draw();
      this.onread(null);
      return;
    }
    const asking = (this.asking = new AbortController());
    this.#say("Reading …");
    try {
      const reading = await this.api.post("/predict", { email: text }, { signal: asking.signal });
      if (text !== this.text) return; // It was about another text; the next answer is on its way.
      this.marks = [...marksOf(text, reading.entities)];
      this.#draw();
      this.#keep();
      this.#say(this.#summary(reading));
      this.onread(reading);
    } catch (error) {
      if (asking.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this.#say(`Not read: ${error.message}`, true);
    }
  }

  #summary(reading) {
    const found = Object.keys(LABELS).filter((name) => reading[name] !== null).length;
    const first = found === 0 ? "No payment was found in this mail; select text to fill a field." : `${found} of 4 fields found.`;
    const turned = TURNING.test(this.text) ? ["It has invisible signs that turn the direction of text: what you see may stand in another order."] : [];
    return [first, ...reading.notes, ...turned].join(" ");
  }

  #say(text, wrong = false) {
    say(this.said, text);
    this.said.classList.toggle("wrong", wrong);
  }

  #draw() {
    this.below.draw(this.text, this.marks);
    this.#list();
  }

  #list() {
    put(this.found, this.marks.map((mark, at) => this.#entry(mark, at)));
  }

  #entry(mark, at) {
    const text = this.text.slice(mark.start, mark.end);
    const sure = mark.confidence === undefined ? "chosen by you" : `${Math.round(mark.confidence * 100)} % sure`;
    const show = () => {
      const { start, end } = this.marks[at]; // It moves with every edit before it.
      this.input.focus();
      this.input.setSelectionRange(start, end);
      this.#chosen();
    };
    return h("li", {}, h("button", { type: "button", class: "plain entry", onclick: show, title: "Show it in the mail" }, h("span", { class: `swatch is-${mark.field}` }, LABELS[mark.field]), h("bdi", {}, text), h("small", { class: "quiet" }, sure)));
  }

  #tool(field) {
    const button = h("button", { type: "button", class: "plain tool", onclick: () => this.#assign(field) }, h("span", { class: `swatch is-${field}` }, LABELS[field]));
    this.legend[field] = button;
    return button;
  }

  #chosen() {
    const { selectionStart, selectionEnd } = this.input;
    const some = this.text.slice(selectionStart, selectionEnd).trim() !== "";
    for (const [field, button] of Object.entries(this.legend)) {
      button.setAttribute("aria-disabled", String(!some));
      button.title = some ? `Use the selected text as ${LABELS[field].toLowerCase()}` : "Select text in the mail first";
    }
  }

  #assign(field) {
    let { selectionStart: start, selectionEnd: end } = this.input;
    while (start < end && /\s/.test(this.text[start])) start += 1;
    while (end > start && /\s/.test(this.text[end - 1])) end -= 1;
    if (start === end) {
      this.#say("Select text in the mail first, then say what it is.");
      return;
    }
    const chosen = { field, start, end };
    this.marks = [chosen, ...this.marks.filter((mark) => mark.field !== field && (mark.end <= start || mark.start >= end))];
    this.#draw();
    this.#keep();
    this.#say(`${LABELS[field]} taken from the mail.`);
    this.onassign(field, asValue(field, this.text.slice(start, end)));
  }

  #over(event) {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    this.paper.classList.add("over");
  }

  #dropped(event) {
    this.paper.classList.remove("over");
    const file = event.dataTransfer.files[0];
    if (!file) return; // Dropped text goes where it was dropped.
    event.preventDefault();
    this.#open(file);
  }

  async #open(file) {
    if (!file) return;
    this.file.value = "";
    this.#say(`Opening ${file.name} …`);
    try {
      if (/\.(eml)$/i.test(file.name) || file.type === "message/rfc822") {
        const bytes = new Uint8Array(await file.slice(0, LARGEST_FILE).arrayBuffer());
        const { text } = await this.api.post("/mail", { message: base64(bytes) });
        if (text) this.set(text);
        else this.#say(`${file.name} has no text to read.`, true);
      } else {
        this.set(await file.slice(0, 4 * LONGEST).text());
      }
    } catch (error) {
      this.#say(`${file.name} was not opened: ${error.message}`, true);
    }
  }

  #keep() {
    this.store.set(NAME, { text: this.text, marks: this.marks });
  }
}

/** What a selection is to a field: `€ 1,250.00` is an amount of 1,250.00. */
function asValue(field, text) {
  const line = text.replace(/\s+/g, " ");
  if (field === "amount") return line.match(/[0-9][0-9.,' ]*[0-9]|[0-9]/)?.[0] ?? line;
  if (field === "currency") return SYMBOLS[line] ?? line.toUpperCase();
  return line;
}

function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(text);
}
