// A form of its own for each panel that is open, kept when the panel closes.
//
// Two windows have two panels over one storage. What one types, reads or pays must not reach the
// other's form, and no two may hold one payment's key.

import { hold, holdAgain } from "./alone.js";
import { isUnderWay } from "./sending.js";
import { Store } from "./store.js";

const MINE = "paydesk.place"; // in sessionStorage: a reload comes back to its place

/** The panel's own store: its window's of before, one with a payment under way, one that was left, or a new one. */
export async function ownStore() {
  const mine = sessionStorage.getItem(MINE);
  if (mine !== null && (await holdAgain(mine))) return storeAt(mine);
  const { id } = await chrome.windows.getCurrent();
  const { places: known = {} } = await chrome.storage.session.get("places");
  for (const place of places(known[id])) {
    if (!(await hold(place))) continue;
    sessionStorage.setItem(MINE, place);
    await chrome.storage.session.set({ places: { ...known, [id]: place } });
    return storeAt(place);
  }
}

function* places(before) {
  if (before !== undefined && holdsSomething(before)) yield before;
  const kept = [...new Set(Object.keys(localStorage).map((name) => name.match(/^paydesk\.(\d+)\./)?.[1]).filter(Boolean))];
  yield* kept.filter((place) => isUnderWay(storeAt(place).get("payment")));
  if (before !== undefined) yield before;
  yield* kept.filter(holdsSomething);
  for (let place = 0; ; place += 1) yield String(place);
}

function holdsSomething(place) {
  const store = storeAt(place);
  return Boolean(store.get("mail")?.text) || (store.get("payment")?.phase ?? "editing") !== "editing";
}

function storeAt(place) {
  return new Store(localStorage, `paydesk.${place}`);
}
