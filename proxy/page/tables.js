/** Parts that several screens have. */

import { field, h, problem } from "./dom.js";

/** @import {Child} from "./dom.js" */
/** @import {Context} from "./shapes.js" */

const NUMBER = /^(up to )?[–\d$€£][\d.,]*\w?( to [$€£]?[\d.,]+)?$/;

/** Numbers stand to the right. @param {Child} child */
const side = (child) => NUMBER.test(String(child)) && "number";

/** A table; the first cell of a row is its head. @param {string[]} heads @param {Child[][]} rows */
export function table(heads, rows) {
  return h("table", { class: "table" },
    h("thead", null, h("tr", null, heads.map((head, at) => h("th", { scope: "col", class: at > 0 && side(rows[0]?.[at]) }, head)))),
    h("tbody", null, rows.map(([first, ...rest]) => h("tr", null, h("th", { scope: "row" }, first), rest.map((cell) => h("td", { class: side(cell) }, cell))))));
}

/** A card under a heading, whose parts stand below each other. @param {string} name @param {...Child} children */
export const card = (name, ...children) => h("section", { class: "card stack" }, h("h2", null, name), children);

/** A card with one figure, for a `dl`. @param {string} name @param {string} text @param {string} under */
export function figure(name, text, under) {
  const [value, note] = [h("dd", { class: "figure" }, text), h("dd", { class: "muted" }, under)];
  return { node: h("div", { class: "card" }, h("dt", null, name), value, note), value, note };
}

/** What scrolls by the keyboard too. @param {"div" | "pre"} tag @param {string} kind @param {string} label @param {...Child} children */
export function scroll(tag, kind, label, ...children) {
  return h(tag, { class: kind, tabindex: 0, role: "region", "aria-label": label }, children);
}

/** Text as it is. @param {string} label @param {string} [text] */
export const code = (label, text = "") => scroll("pre", "code mono", label, text);

/** Write into a box that scrolls, and stay at its end for who is there. @param {HTMLElement} box @param {() => void} write */
export function follow(box, write) {
  const follows = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  write();
  if (follows) box.scrollTop = box.scrollHeight;
}

/** @param {unknown} error */
export const why = (error) => error instanceof Error ? error.message : String(error);

/** @param {unknown} error */
export const wrong = (error) => problem(why(error));

/** Write a choice into the address; "" takes it out. @param {URLSearchParams} query @param {string} name @param {string} value */
export function keep(query, name, value) {
  if (value) query.set(name, value);
  else query.delete(name);
}

/**
 * A search that is kept in the address; `find` gets the text in small letters, and says how much was found.
 * @param {string} label @param {string} example @param {URLSearchParams} query @param {Context} ctx @param {(text: string) => string} find
 */
export function finder(label, example, query, ctx, find) {
  const count = h("p", { class: "muted", role: "status" });
  const search = h("input", { type: "search", value: query.get("find") ?? "", placeholder: example, on: { input: draw } });
  return { search: field(label, search), count, draw };

  function draw() {
    const text = search.value.trim().toLowerCase();
    count.textContent = find(text);
    keep(query, "find", text);
    ctx.setQuery(query);
  }
}
