// Opens the panel: by the button in the toolbar, or by the menu of a selected text.

const ITEM = "read";

chrome.runtime.onInstalled.addListener(() => {
  chrome.contextMenus.create({ id: ITEM, title: "Read with Paydesk", contexts: ["selection"] });
});

// Not openPanelOnActionClick: a click that comes here lets the panel read that one tab.
chrome.action.onClicked.addListener((tab) => chrome.sidePanel.open({ tabId: tab.id }));

chrome.contextMenus.onClicked.addListener((info, tab) => {
  chrome.sidePanel.open({ tabId: tab.id });
  // In memory alone: the text of a mail is written to no disk from here.
  chrome.storage.session.set({ mail: { text: info.selectionText, windowId: tab.windowId } });
});
