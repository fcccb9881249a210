// Builds elements. Text goes in as text nodes alone: nothing that came from a mail becomes markup.

/** An element with attributes, properties (`.value`), listeners (`onclick`) and children. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith(".")) element[name.slice(1)] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A table's cell, which has its column's name where the heads are not shown. */
export function cell(label, content, kind = "") {
  return h("td", { class: kind, "data-label": label }, content);
}

/** Names with their values. */
export function factList(facts) {
  return h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** Replaces what `element` holds, unless it would say the same: what is read aloud is read once. */
export function put(element, ...children) {
  const fresh = document.createDocumentFragment();
  fresh.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  element.replaceChildren(fresh);
}

/** Writes `text` into `element` where it changed. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

let counter = 0;

/** An id that nothing else on the page has. */
export function freshId(prefix) {
  counter += 1;
  return `${prefix}-${counter}`;
}

/** A time as people of this browser write it, with seconds. */
export function when(iso) {
  const at = new Date(iso);
  const today = at.toDateString() === new Date().toDateString();
  return today ? at.toLocaleTimeString() : at.toLocaleString();
}
