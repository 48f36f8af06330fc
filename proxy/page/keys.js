/** Keys without a modifier: whether they are meant for the page, the switch that turns them off, and their list. */

import { openDialog } from "./dialog.js";
import { h, keepHere, kept } from "./dom.js";

const KEPT = "quell-keys";

/** @type {[keys: string, what: string][]} */
const KEYS = [
  ["j", "next row of the table"],
  ["k", "row before"],
  ["Enter", "open the row's generation"],
  ["s", "stop the row's generation"],
  ["p", "hold the table still, and let it go on"],
  ["/", "go to the filters"],
  ["1 … 5", "Live, Usage, Playground, Health, API"],
  ["?", "this list"],
];

/** Whether single keys do something; some people's tools type letters for them. */
const keysAreOn = () => kept(KEPT) !== "off";

/**
 * Whether a key is meant for the page: no modifier, no field and no dialog that takes it.
 * @param {KeyboardEvent} event
 */
export function isForThePage(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.isComposing) return false;
  const at = event.target;
  if (at instanceof HTMLElement && (at.isContentEditable || at.closest("input, select, textarea, dialog"))) return false;
  return keysAreOn();
}

/** Show the list of keys, and the switch. */
export function showKeys() {
  openDialog("Keys", () => [
    h("table", { class: "keys" },
      h("thead", { class: "visually-hidden" }, h("tr", null, h("th", { scope: "col" }, "Key"), h("th", { scope: "col" }, "What it does"))),
      h("tbody", null, KEYS.map(([keys, what]) => h("tr", null, h("th", { scope: "row" }, h("kbd", null, keys)), h("td", null, what)))),
    ),
    h("label", { class: "check" },
      h("input", { type: "checkbox", checked: keysAreOn(), on: { change: (event) => keepHere(KEPT, event.target.checked ? "on" : "off") } }),
      "Use these keys",
    ),
    h("p", { class: "hint" }, "Everything can be done with Tab, Enter and Space too."),
  ]);
}
