/** Dialogs: the browser's own, so that focus stays inside, Escape closes, and focus goes back to where it was. */

import { button, h } from "./dom.js";

/**
 * Show a dialog over the page.
 * @param {string} title
 * @param {(close: () => void) => Child} content What is in it; `close` ends it.
 */
export function openDialog(title, content) {
  const dialog = h("dialog", { class: "dialog", "aria-label": title });
  const close = () => dialog.close();
  dialog.append(
    h("div", { class: "dialog-head" }, h("h2", null, title), button("Close", "quiet small", close)),
    h("div", { class: "dialog-body stack" }, content(close)),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
