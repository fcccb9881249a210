// The text of the mail once more, unseen, with its marks: a block a line, of which only those that an
// edit changed are drawn anew. The browser lays out the others but once, however long the mail is.

import { h } from "./dom.js";
import { pieces, sameEnds } from "./marks.js";

const LONG = 4_000; // characters of a line whose layout alone takes longer than a key may
const PAUSE_MS = 150;

/** The layer below a textarea; `element` has the same text and a line break at its end. */
export class Lines {
  constructor() {
    this.element = h("div", { class: "below", "aria-hidden": "true", dir: "auto" });
    this.lines = [];
    this.later = null;
  }

  draw(text, marks) {
    clearTimeout(this.later);
    this.element.classList.remove("behind");
    const lines = inLines(pieces(text, marks));
    const [head, tail] = sameEnds(this.lines, lines, same);
    const blocks = this.element.children;
    for (let gone = this.lines.length - tail - head; gone > 0; gone -= 1) blocks[head].remove();
    const fresh = document.createDocumentFragment();
    fresh.append(...lines.slice(head, lines.length - tail).map(drawn));
    this.element.insertBefore(fresh, blocks[head] ?? null);
    this.lines = lines;
  }

  /** The same while somebody types: in a line of many thousand signs, once they pause. */
  follow(text, marks) {
    if (text.length <= LONG || text.split("\n").every((line) => line.length <= LONG)) {
      this.draw(text, marks);
      return;
    }
    this.element.classList.add("behind");
    clearTimeout(this.later);
    this.later = setTimeout(() => this.draw(text, marks), PAUSE_MS);
  }
}

/** Pieces, `{text, field}`, line by line; what goes over a line's end is in both. */
function inLines(all) {
  const lines = [[]];
  for (const { text, mark } of all) {
    const [first, ...others] = text.split("\n");
    lines.at(-1).push({ text: first, field: mark?.field });
    for (const other of others) lines.push([{ text: other, field: mark?.field }]);
  }
  return lines;
}

function same(before, after) {
  return before.length === after.length && before.every(({ text, field }, at) => text === after[at].text && field === after[at].field);
}

function drawn(line) {
  return h("div", {}, line.map(({ text, field }) => (field && text ? h("mark", { class: `is-${field}` }, text) : text)), "\n");
}
