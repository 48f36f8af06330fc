/** Usage and savings: what was spent, and what stops kept from being made, by hour or day and by whom. */

import { get } from "./api.js";
import { quoted } from "./dialects.js";
import { button, clear, field, fmt, h, muted } from "./dom.js";
import { csv, currencies, money, savedIn, sum } from "./sums.js";
import { figure, keep, scroll, table, wrong } from "./tables.js";
import { charts } from "./usage_charts.js";
import { savedCost, savedTokens } from "./words.js";

/** @import {Screen} from "./shapes.js" */
/** @import {Asked, Row, Usage} from "./usage_types.js" */

export const title = "Usage";

const OWN = "own";
const SPANS = [["24h", "24 hours"], ["7d", "7 days"], ["30d", "30 days"], ["90d", "90 days"], [OWN, "from … to …"]];
const GROUPS = ["model", "key", "user", "route", "upstream", "outcome"];
const FILTERS = ["model", "key", "user", "route"];
/** @type {Record<string, string>} */
const USUAL = { since: "7d", group: "model" };
/** Up to so many hours they are shown where nobody chose, and at all. */
const [FEW_HOURS, MOST_HOURS] = [48, 14 * 24];

/** @type {Screen["show"]} */
export function show(root, query, ctx) {
  let loads = 0;
  const choice = (/** @type {string} */ name, /** @type {string[][]} */ options) =>
    h("select", { name }, options.map(([value, text = value]) => h("option", { value, selected: value === (query.get(name) ?? USUAL[name]) }, text)));
  const input = (/** @type {string} */ name, type = "search") => h("input", { type, name, value: query.get(name) ?? "", placeholder: "any" });
  const own = [field("From (UTC)", input("from", "date")), field("Before (UTC)", input("until", "date"))];
  const bar = h("form", { class: "card choices", "aria-label": "What is shown", on: { change: changed, submit: (event) => event.preventDefault() } },
    field("Span", choice("since", SPANS)), own,
    field("Each", choice("by", [["", "automatic"], ["hour"], ["day"]])), field("By", choice("group", GROUPS.map((name) => [name]))),
    FILTERS.map((name) => field(`Only ${name}`, input(name))));
  const found = h("div", { class: "stack" });
  clear(root, h("h1", null, "Usage and savings"), bar, found);
  void load();
  return () => void (loads += 1);

  function changed() {
    for (const [name, value] of new FormData(bar)) keep(query, name, String(value).trim() === USUAL[name] ? "" : String(value).trim());
    ctx.setQuery(query);
    void load();
  }

  /** Ask for the sums and show them; the newest question wins. */
  async function load() {
    const mine = (loads += 1);
    const asked = read(query);
    for (const each of own) each.hidden = query.get("since") !== OWN;
    const ask = (/** @type {string[]} */ ...by) => get("/api/usage", { ...asked.filters, by: by.join() });
    found.setAttribute("aria-busy", "true");
    try {
      const all = await Promise.all([ask(asked.group), ask(asked.by, "cause"), ask(asked.by, asked.group)]);
      if (mine === loads) clear(found, drawn(all, asked));
    } catch (error) {
      if (mine === loads) clear(found, wrong(error));
    }
    if (mine !== loads) return;
    found.setAttribute("aria-busy", "false");
    ctx.announce("The figures are there.");
  }
}

/** What the address asks for; hours for short spans only. @param {URLSearchParams} query @returns {Asked} */
function read(query) {
  const day = (/** @type {number} */ ago) => new Date(Date.now() - ago * 86_400_000).toISOString().slice(0, 10);
  const span = query.get("since") ?? "7d";
  const since = span === OWN ? query.get("from") ?? day(7) : span;
  const names = span === OWN ? ["until", ...FILTERS] : FILTERS;
  const filters = Object.fromEntries([["since", since], ...names.map((name) => [name, query.get(name)]).filter(([, value]) => value)]);
  const hours = span === OWN ? (Date.parse(filters.until ?? day(0)) - Date.parse(since)) / 3_600_000 : Number.parseInt(span, 10) * (span.endsWith("h") ? 1 : 24);
  const group = query.get("group") ?? "";
  return { filters, by: hours <= MOST_HOURS && (query.get("by") ?? (hours <= FEW_HOURS && "hour")) === "hour" ? "hour" : "day", group: GROUPS.includes(group) ? group : "model" };
}

/** @param {Usage[]} all @param {Asked} asked */
function drawn([groups, causes, both], asked) {
  if (!groups?.data.length || !causes || !both) return h("p", { class: "empty" }, "Nothing was asked for in this span. Choose a longer one, or take a filter away.");
  return [totals(groups.data, causes.data), h("div", { class: "charts" }, charts(causes, both, asked)), figures(groups, both, asked)];
}

/** @param {Row[]} data @param {Row[]} causes */
function totals(data, causes) {
  const of = (/** @type {string} */ name) => sum(data.map((row) => row[name]));
  const stopped = sum(causes.filter(({ group }) => group.cause !== null).map(({ generations }) => generations)) ?? 0;
  const cards = [
    ["Generations", fmt.tokens(of("generations")), `${fmt.tokens(stopped)} of them stopped`],
    ["Tokens", fmt.tokens(of("total_tokens")), `${fmt.tokens(of("completion_tokens"))} of them made by models`],
    ...currencies(data).map((currency) => [`Spent, ${currency}`, fmt.cost(money(data.map(({ cost }) => cost[currency])), currency), `${fmt.tokens(of("cost_unknown"))} without a known cost`]),
    ["Saved by stops", stopped ? savedTokens(of("saved_typical"), of("saved_most")) : "0", stopped && (of("saved_typical") ?? of("saved_most")) === null ? "tokens: known of calls with max_tokens" : "tokens, against a typical answer and the longest allowed"],
    ...savedIn(data).map(([currency, typical, most]) => [`Saved, ${currency}`, savedCost(typical, most, currency), "the same in money"]),
    ["Late", fmt.tokens(of("late_tokens")), "tokens made behind a stop"],
  ];
  return h("dl", { class: "cards" }, cards.map(([name = "", value = "", more = ""]) => figure(name, value, more).node));
}

/** @param {Usage} groups @param {Usage} both @param {Asked} asked */
function figures(groups, both, { by, group, filters }) {
  const costs = currencies(groups.data);
  const heads = [group, "Generations", "Prompt", "Completion", ...costs.map((currency) => `Cost ${currency}`), "Saved", "Late", "Running or not counted"];
  const rows = groups.data.map((row) => [
    row.group[group] ?? "none", fmt.tokens(row.generations), fmt.tokens(row.prompt_tokens), fmt.tokens(row.completion_tokens),
    ...costs.map((currency) => fmt.cost(row.cost[currency], currency)), (row.saved_typical ?? row.saved_most) === null ? "–" : savedTokens(row.saved_typical, row.saved_most), fmt.tokens(row.late_tokens), fmt.tokens(row.unknown),
  ]);
  const options = Object.entries(filters).map(([name, value]) => ` --${name} ${quoted(value)}`);
  return h("section", { class: "card stack" },
    h("div", { class: "row" }, h("h2", null, `By ${group}`), download(`CSV by ${group}`, groups), download(`CSV by ${by} and ${group}`, both)),
    scroll("div", "table-wrap", `Usage by ${group}`, table(heads, rows)),
    muted("The same in a terminal: ", h("code", null, `quell usage${options.join("")} --by ${group}${location.origin === "http://127.0.0.1:8485" ? "" : ` --admin ${location.origin}`}`)));
}

/** @param {string} label @param {Usage} usage */
function download(label, usage) {
  return button(label, "small", () => {
    const href = URL.createObjectURL(new Blob([csv(usage)], { type: "text/csv" }));
    h("a", { href, download: `quell-usage-by-${usage.by.join("-")}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000);
  });
}
