// A form of its own for each panel that is open, kept when the panel closes.
//
// Two windows have two panels over one storage. What one types, reads or pays must not reach the
// other's form, and no two may hold one payment's key.

import { hold, holdAgain } from "./alone.js";
import { isUnderWay } from "./sending.js";
import { Store } from "./store.js";

const MINE = "paydesk.place"; // in sessionStorage: a reload comes back to its place

/** The panel's own store: of a payment that is under way and in no other panel, else the first free. */
export async function ownStore() {
  const mine = sessionStorage.getItem(MINE);
  if (mine !== null && (await holdAgain(mine))) return storeAt(mine);
  for (const place of places()) {
    if (!(await hold(place))) continue;
    sessionStorage.setItem(MINE, place);
    return storeAt(place);
  }
}

function* places() {
  const kept = Object.keys(localStorage).map((name) => name.match(/^paydesk\.(\d+)\.payment$/)?.[1]).filter(Boolean);
  yield* kept.filter((place) => isUnderWay(storeAt(place).get("payment")));
  for (let place = 0; ; place += 1) yield String(place);
}

function storeAt(place) {
  return new Store(localStorage, `paydesk.${place}`);
}
