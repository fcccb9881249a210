// Finds the mail on a Gmail page. It runs in that page, so all it needs is inside it.

/** `{kind, text}` of the draft, the selection or the open message; null where none is found. */
export function findMail() {
  const seen = (element) => element.getClientRects().length > 0 && element.innerText.trim() !== "";
  const all = (...queries) => queries.flatMap((query) => [...document.querySelectorAll(query)]).filter(seen);
  const within = (element, query) => element?.querySelector(query)?.value?.trim() ?? "";
  const whole = (subject, body) => (subject ? `Subject: ${subject}\n\n${body}` : body);

  const selected = String(getSelection()).trim();
  if (selected) return { kind: "the selected text", text: selected };

  // A compose window: its body is the editable box, whatever its classes are called by now.
  const drafts = all('[role="textbox"][contenteditable="true"][g_editable="true"]', '[role="textbox"][contenteditable="true"][aria-multiline="true"]');
  const draft = drafts.find((box) => box.contains(document.activeElement)) ?? drafts.at(-1);
  if (draft) {
    const around = draft.closest('[role="dialog"], form') ?? document;
    return { kind: "the draft", text: whole(within(around, 'input[name="subjectbox"]'), draft.innerText.trim()) };
  }

  // An open conversation: its last message is what was just read.
  const message = all("[data-message-id] .a3s", '[role="listitem"] .a3s', "[data-message-id] [dir]").at(-1);
  if (message) {
    const subject = document.querySelector("h2[data-legacy-thread-id], [role='main'] h2")?.innerText?.trim() ?? "";
    return { kind: "the open message", text: whole(subject, message.innerText.trim()) };
  }
  return null;
}
