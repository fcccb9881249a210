// One at a time among all the pages of this browser, by its Web Locks. Where it has none (a desk by
// plain http from another machine) a page knows of itself alone.

const RELOAD_MS = 2_000; // by then the page before a reload has let go

/** Takes `name` until this page is gone; false where another page has it. */
export function hold(name) {
  return taken(name, { ifAvailable: true });
}

/** The same for what this page had before it was reloaded. */
export function holdAgain(name) {
  return taken(name, { signal: AbortSignal.timeout(RELOAD_MS) });
}

function taken(name, how) {
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((resolve, reject) => {
    const held = (lock) => {
      resolve(lock !== null);
      return lock && new Promise(() => {});
    };
    navigator.locks
      .request(`paydesk.${name}`, how, held)
      .catch((error) => (error.name === "TimeoutError" ? resolve(false) : reject(error)));
  });
}
