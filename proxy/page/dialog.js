/** Dialogs: the browser's own, so that focus stays inside, Escape closes, and focus goes back to where it was. */

import { button, h } from "./dom.js";

let dialogs = 0;

/**
 * Show a dialog over the page.
 * @param {string} title
 * @param {(close: () => void) => Child} content What is in it; `close` ends it.
 * @param {{onClose?: () => void, kind?: string}} [more]
 * @returns {HTMLDialogElement}
 */
export function openDialog(title, content, more = {}) {
  dialogs += 1;
  const heading = h("h2", { id: `dialog-${dialogs}` }, title);
  const dialog = h("dialog", { class: `dialog ${more.kind ?? ""}`, "aria-labelledby": heading.id });
  const close = () => dialog.close();
  dialog.append(
    h("div", { class: "dialog-head" }, heading, button("Close", "quiet small", close)),
    h("div", { class: "dialog-body stack" }, content(close)),
  );
  dialog.addEventListener("close", () => {
    dialog.remove();
    more.onClose?.();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
