// Where the service is and by which key it is asked, as the options keep them.

export const DEFAULTS = { address: "http://127.0.0.1:3000", key: "" };

export async function readSettings() {
  return { ...DEFAULTS, ...(await chrome.storage.local.get(["address", "key"])) };
}

/** The address without a path, or an Error that says what is wrong with it. */
export function checkedAddress(typed) {
  let address;
  try {
    address = new URL(typed.trim());
  } catch {
    throw new Error("Write an address like https://paydesk.example or http://127.0.0.1:3000.");
  }
  const here = ["127.0.0.1", "localhost"].includes(address.hostname);
  if (address.protocol !== "https:" && !(here && address.protocol === "http:")) {
    throw new Error("A key goes over https alone; http is for this machine (127.0.0.1, localhost).");
  }
  if (address.username || address.password) throw new Error("Leave user and password out of the address.");
  return address.origin;
}
