/** Dialogs: the browser's own, so that focus stays inside, Escape closes, and focus goes back to where it was. */

import { h } from "./dom.js";

let dialogs = 0;

/**
 * Show a dialog over the page.
 * @param {string} title
 * @param {(close: () => void) => import("./dom.js").Child} content What is in it; `close` ends it.
 * @param {{onClose?: () => void, kind?: string}} [more]
 * @returns {HTMLDialogElement}
 */
export function openDialog(title, content, more = {}) {
  dialogs += 1;
  const heading = h("h2", { id: `dialog-${dialogs}` }, title);
  const dialog = h("dialog", { class: `dialog ${more.kind ?? ""}`, "aria-labelledby": heading.id });
  const close = () => dialog.close();
  const leave = h("button", { type: "button", class: "button quiet small", on: { click: close } }, "Close");
  dialog.append(
    h("div", { class: "dialog-head" }, heading, leave),
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
