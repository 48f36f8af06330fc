/** The filters of the live table: six fields, kept in the address. */

import { button, field, h } from "./dom.js";

/** @type {[name: string, label: string, example: string][]} */
const FIELDS = [
  ["user", "User", "any"],
  ["key", "Key", "any"],
  ["route", "Route", "any"],
  ["model", "Model", "any"],
  ["tag", "Tag", "team:search"],
  ["older_than", "Older than", "10m"],
];
export const FILTERS = FIELDS.map(([name]) => name);

const TYPING = 350;
const MOST_OFFERED = 50;

/**
 * The form, which tells every change. `offer` names values that were seen, `set` fills one in.
 * @param {URLSearchParams} query
 * @param {(filters: Record<string, string>) => void} onChange
 */
export function makeFilters(query, onChange) {
  /** @type {Record<string, HTMLInputElement>} */
  const inputs = {};
  /** @type {Record<string, {list: HTMLDataListElement, seen: Set<string>}>} */
  const offers = {};
  let typing = 0;

  const parts = FIELDS.map(([name, label, example]) => {
    const list = h("datalist", { id: `seen-${name}` });
    const input = h("input", {
      name, id: `filter-${name}`, placeholder: example, autocomplete: "off", spellcheck: "false", list: list.id, value: query.get(name) ?? "",
    });
    inputs[name] = input;
    offers[name] = { list, seen: new Set() };
    return [field(label, input), list];
  });
  const clearing = button("Clear", "quiet small", () => fill({}));
  const count = h("span", { class: "tag" });
  const details = h("details", { class: "filters card" },
    h("summary", null, "Filters ", count),
    h("form", {
      class: "filter-form", role: "search", "aria-label": "Filters",
      on: { input: () => later(), submit: (event) => { event.preventDefault(); tell(); } },
    }, parts, clearing),
  );
  details.open = matchMedia("(min-width: 50em)").matches || FILTERS.some((name) => query.has(name));

  function later() {
    clearTimeout(typing);
    typing = window.setTimeout(tell, TYPING);
  }

  function given() {
    return Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, input.value.trim()]).filter(([, value]) => value));
  }

  function tell() {
    clearTimeout(typing);
    mark();
    onChange(given());
  }

  function mark() {
    const many = Object.keys(given()).length;
    count.textContent = many ? `${many} set` : "none set";
    clearing.hidden = !many;
  }

  /** Set all filters at once. @param {Record<string, string>} values */
  function fill(values) {
    for (const [name, input] of Object.entries(inputs)) input.value = values[name] ?? "";
    tell();
  }

  /** Offer what these rows have. @param {Row[]} rows */
  function offer(rows) {
    for (const row of rows) {
      const { user, key_id: key, route, model } = row;
      for (const [name, value] of Object.entries({ user, key, route, model })) {
        const known = offers[name];
        if (!value || !known || known.seen.has(value) || known.seen.size >= MOST_OFFERED) continue;
        known.seen.add(value);
        known.list.append(h("option", { value }));
      }
    }
  }

  mark();
  return {
    element: details,
    given,
    offer,
    /** Set one filter beside the others. @param {string} name @param {string} value */
    set: (name, value) => fill({ ...given(), [name]: value }),
    focus() {
      details.open = true;
      inputs.user?.focus();
    },
    leave: () => clearTimeout(typing),
  };
}
