// The side panel: the open mail into the desk's own form, which is confirmed as on the desk.

import { Api, ApiError } from "./api.js";
import { bankIn } from "./bank.js";
import { put, say } from "./dom.js";
import { findMail } from "./find.js";
import { Mail } from "./mail.js";
import { ownStore } from "./own.js";
import { Pay } from "./pay.js";
import { readSettings } from "./settings.js";

const part = Object.fromEntries(["bank", "options", "place", "read", "said", "trouble"].map((id) => [id, document.getElementById(id)]));
const { address, key } = await readSettings();
const api = new Api(address, key);
// Not sessionStorage: it ends with the panel, and a payment's key must not.
const store = await ownStore();

const pay = new Pay(api, store);
const mail = new Mail(api, store, {
  onread: (reading) => pay.fill(reading),
  onassign: (field, text) => pay.open && pay.form.assign(field, text),
});
put(part.place, mail.element, pay.element);

async function begin() {
  try {
    bankIn(part.bank, (await api.get("/status")).bank);
    part.trouble.hidden = true;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    say(part.trouble, `${error.message} The address is ${address}; the options change it.`);
    part.trouble.hidden = false;
  }
}

async function readOpenMail() {
  say(part.said, "Looking for the mail …");
  let found = null;
  try {
    const { id: windowId } = await chrome.windows.getCurrent();
    const [tab] = await chrome.tabs.query({ active: true, windowId });
    const [answer] = await chrome.scripting.executeScript({ target: { tabId: tab.id }, func: findMail });
    found = answer.result;
  } catch {
    say(part.said, "This tab may not be read from here: click the Paydesk button in the toolbar, or select the text and choose “Read with Paydesk” in its menu, or paste it below.");
    return;
  }
  if (!found) {
    say(part.said, "No mail was found on this page: select its text and choose “Read with Paydesk” in its menu, or paste it below.");
    return;
  }
  say(part.said, `This is ${found.kind}.`);
  mail.set(found.text);
}

/** The text that was selected in this window; what was in another one is for the panel there. */
async function takeSelection() {
  const [{ mail: selection }, { id }] = await Promise.all([chrome.storage.session.get("mail"), chrome.windows.getCurrent()]);
  if (selection?.windowId !== id) return;
  await chrome.storage.session.remove("mail");
  say(part.said, "This is the selected text.");
  mail.set(selection.text);
}

part.read.addEventListener("click", readOpenMail);
part.options.addEventListener("click", () => chrome.runtime.openOptionsPage());
chrome.storage.session.onChanged.addListener(takeSelection);
// The next mail goes to the service that the options name by then.
chrome.storage.local.onChanged.addListener(() => location.reload());
await begin();
await takeSelection();
