/** Usage and savings: what was spent, and what stops kept from being made, by hour or day and by whom. */

import { get } from "./api.js";
import { bars, LOOKS } from "./chart.js";
import { quoted } from "./dialects.js";
import { clear, field, fmt, h } from "./dom.js";
import { csv, currencies, moment, money, steps, sum } from "./sums.js";
import { keep, scroll, table, wrong } from "./tables.js";
import { savedCost, savedTokens } from "./words.js";

/** @import {Context} from "./shapes.js" */
/** @import {Row, Usage, Value} from "./usage_types.js" */

export const title = "Usage";

const SPANS = [["24h", "24 hours"], ["7d", "7 days"], ["30d", "30 days"], ["90d", "90 days"], ["", "from … to …"]];
const GROUPS = ["model", "key", "user", "route", "upstream", "outcome"];
const FILTERS = ["model", "key", "user", "route"];
const CAUSES = ["client", "operator", "disconnect", "deadline", "budget", "shutdown"];
const MOST_HOURS = 14 * 24;
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** @param {HTMLElement} root @param {URLSearchParams} query @param {Context} ctx */
export function show(root, query, ctx) {
  const bar = h("form", { class: "card choices", "aria-label": "What is shown", on: { submit: (event) => event.preventDefault() } });
  const found = h("div", { class: "stack" });
  let loads = 0;
  clear(root, h("h1", null, "Usage and savings"), bar, found);
  lay();
  void load();
  return () => void (loads += 1);

  /** @param {string} name @param {string} value */
  function set(name, value) {
    keep(query, name, value);
    ctx.setQuery(query);
    lay();
    void load();
  }

  /** What can be chosen; the field in use keeps the focus. */
  function lay() {
    const { since, isOwn, by, group } = asked(query);
    const had = document.activeElement?.getAttribute("name");
    /** @param {string} name @param {string[][]} options @param {string} value */
    const choice = (name, options, value) => h("select", { name, on: { change: ({ target }) => set(name, target.value || weekAgo()) } },
      options.map(([id, text]) => h("option", { value: id, selected: id === value }, text ?? id)));
    const day = (/** @type {string} */ name) => h("input", { type: "date", name, value: (query.get(name) ?? "").slice(0, 10), on: { change: ({ target }) => set(name, target.value) } });
    clear(bar,
      field("Span", choice("since", SPANS, isOwn ? "" : since)),
      isOwn && [field("From (UTC)", day("since")), field("Before (UTC)", day("until"))],
      field("Each", choice("by", [["hour"], ["day"]], by)),
      field("By", choice("group", GROUPS.map((name) => [name]), group)),
      FILTERS.map((name) => field(`Only ${name}`, h("input", { type: "search", name, placeholder: "any", value: query.get(name) ?? "", on: { change: ({ target }) => set(name, target.value.trim()) } }))));
    if (had) /** @type {HTMLElement | null} */ (bar.querySelector(`[name="${had}"]`))?.focus();
  }

  /** Ask for the sums and show them; the newest question wins. */
  async function load() {
    const mine = (loads += 1);
    const { by, group, filters } = asked(query);
    const ask = (/** @type {string} */ groups) => get("/api/usage", { ...filters, by: groups });
    found.setAttribute("aria-busy", "true");
    try {
      const all = await Promise.all([ask(group), ask(`${by},cause`), ask(`${by},${group}`)]);
      if (mine !== loads) return;
      clear(found, drawn(all, by, group, filters));
      ctx.announce("The sums are there.");
    } catch (error) {
      if (mine === loads) clear(found, wrong(error));
    }
    found.setAttribute("aria-busy", "false");
  }
}

const weekAgo = () => new Date(Date.now() - 7 * 86_400_000).toISOString().slice(0, 10);

/** What the address asks for, hours only for short spans. @param {URLSearchParams} query */
function asked(query) {
  const since = query.get("since") ?? "7d";
  const group = query.get("group") ?? "";
  const length = Number.parseInt(since, 10) * (since.endsWith("h") ? 1 : 24);
  const isOwn = !SPANS.some(([id]) => id === since);
  const hours = isOwn ? ((Date.parse(query.get("until") ?? "") || Date.now()) - Date.parse(since)) / 3_600_000 : length;
  const by = hours <= MOST_HOURS && (query.get("by") ?? (hours <= 48 ? "hour" : "day")) === "hour" ? "hour" : "day";
  const given = ["until", ...FILTERS].flatMap((name) => query.get(name) && (name !== "until" || isOwn) ? [[name, query.get(name) ?? ""]] : []);
  return { since, isOwn, by, group: GROUPS.includes(group) ? group : "model", filters: { since, ...Object.fromEntries(given) } };
}

/** @param {Usage[]} all @param {string} by @param {string} group @param {Record<string, string>} filters */
function drawn([groups, causes, both], by, group, filters) {
  if (!groups || !causes || !both?.data.length) return h("p", { class: "empty" }, "Nothing was asked for in this span. Choose a longer one, or take a filter away.");
  const costs = currencies(groups.data);
  return [totals(groups.data, causes.data, costs), h("div", { class: "charts" }, charts(causes, both, by, group, costs)), sums(groups, both, by, group, costs, filters)];
}

/** @param {Row[]} data @param {Row[]} causes @param {string[]} costs */
function totals(data, causes, costs) {
  const of = (/** @type {string} */ name) => sum(data.map((row) => row[name]));
  const stopped = sum(causes.map(({ group, generations }) => group.cause === null ? 0 : generations));
  const saved = savedIn(data).map((currency) => [`Saved, ${currency}`, savedCost(...savedOf(data, currency), currency), "the same in money"]);
  const cards = [
    ["Generations", fmt.tokens(of("generations")), `${fmt.tokens(stopped)} of them stopped`],
    ["Tokens", fmt.tokens(of("total_tokens")), `${fmt.tokens(of("completion_tokens"))} of them made by models`],
    ...costs.map((currency) => [`Spent, ${currency}`, fmt.cost(money(data.map(({ cost }) => cost[currency])), currency), `${fmt.tokens(of("cost_unknown"))} without a known cost`]),
    ["Saved by stops", savedTokens(of("saved_typical"), of("saved_most")), "tokens: to a typical answer, and to the most that was allowed"],
    ...saved,
    ["Late", fmt.tokens(of("late_tokens")), "tokens made behind a stop"],
  ];
  return h("dl", { class: "totals" }, cards.map(([name, value, more]) => h("div", { class: "card" }, h("dt", null, name), h("dd", { class: "figure" }, value), h("dd", { class: "muted" }, more))));
}

/** @param {Usage} causes @param {Usage} groups @param {string} by @param {string} group @param {string[]} costs */
function charts(causes, groups, by, group, costs) {
  const at = steps(causes, by);
  const names = at.map((when) => new Date(when).toISOString().slice(0, by === "hour" ? 16 : 10).replace("T", " "));
  const count = (/** @type {number | null} */ value) => value === null ? "–" : short.format(value);
  const base = { step: by === "hour" ? "Hour" : "Day", steps: names, marks: names.map((name) => name.slice(by === "hour" ? 11 : 5)), format: count };
  const line = (/** @type {Row[]} */ data, /** @type {Value} */ value) => {
    const places = Map.groupBy(data, (row) => moment(row.group[by]));
    return at.map((when) => sum((places.get(when) ?? []).map(value)));
  };
  const split = (/** @type {Value} */ value) => largest(groups.data, group, value).map(({ name, data }) => ({ name, values: line(data, value) }));
  const band = (/** @type {Value} */ spent, /** @type {Value} */ typical, /** @type {Value} */ most) => [
    { name: "Spent", values: line(causes.data, spent) },
    { name: "Saved, to a typical answer", values: line(causes.data, typical) },
    { name: "Saved, and to the most allowed", values: line(causes.data, (row) => most(row) == null ? null : Math.max(0, (most(row) ?? 0) - (typical(row) ?? 0))) },
  ];
  const inMoney = (/** @type {string} */ currency) => ({ ...base, format: (/** @type {number | null} */ value) => fmt.cost(value, currency) });
  const cost = (/** @type {string} */ currency) => (/** @type {Row} */ row) => number(row.cost[currency]);
  const about = "What was made; above it, as a band, what stops kept from being made.";
  const stops = CAUSES.map((cause) => ({ name: cause, data: causes.data.filter((row) => row.group.cause === cause) }))
    .filter(({ data }) => data.length)
    .map(({ name, data }) => ({ name: `${name}: ${fmt.tokens(sum(data.map((row) => row.generations)))}`, values: line(data, (row) => row.generations) }));
  return [
    bars({ ...base, title: `Tokens each ${by}`, about: `Prompts and completions, by ${group}.`, series: split((row) => row.total_tokens) }),
    costs.map((currency) => bars({ ...inMoney(currency), title: `Cost each ${by}, ${currency}`, about: `What was spent, by ${group}.`, series: split(cost(currency)) })),
    bars({ ...base, title: "Spent and saved, tokens", about, series: band((row) => row.completion_tokens, (row) => row.saved_typical, (row) => row.saved_most) }),
    savedIn(causes.data).map((currency) => bars({ ...inMoney(currency), title: `Spent and saved, ${currency}`, about, series: band(cost(currency), (row) => number(row.saved_cost?.[currency]?.typical), (row) => number(row.saved_cost?.[currency]?.most)) })),
    bars({ ...base, title: "Stops by cause", about: stops.length ? "Who or what ended generations early." : "No generation was stopped in this span.", series: stops }),
    bars({ ...base, title: "Late tokens", about: "What upstreams went on to make behind a stop, where they were read on.", series: [{ name: "Late tokens", values: line(causes.data, (row) => row.late_tokens) }] }),
  ];
}

/** @param {Usage} groups @param {Usage} both @param {string} by @param {string} group @param {string[]} costs @param {Record<string, string>} filters */
function sums(groups, both, by, group, costs, filters) {
  const heads = [group, "Generations", "Prompt", "Completion", ...costs.map((currency) => `Cost ${currency}`), "Saved", "Late", "Not counted"];
  const rows = groups.data.map((row) => [
    row.group[group] ?? "none", fmt.tokens(row.generations), fmt.tokens(row.prompt_tokens), fmt.tokens(row.completion_tokens),
    ...costs.map((currency) => fmt.cost(row.cost[currency], currency)), savedTokens(row.saved_typical, row.saved_most), fmt.tokens(row.late_tokens), fmt.tokens(row.unknown),
  ]);
  const options = Object.entries(filters).map(([name, value]) => ` --${name} ${/^[\w./:-]+$/.test(value) ? value : quoted(value)}`);
  return h("section", { class: "card stack" },
    h("div", { class: "row" }, h("h2", null, `By ${group}`), download(`CSV by ${group}`, groups), download(`CSV by ${by} and ${group}`, both)),
    scroll("div", "table-wrap", `Usage by ${group}`, table(heads, rows)),
    h("p", { class: "muted" }, "The same in a terminal: ", h("code", null, `quell usage${options.join("")} --by ${group}`)));
}

/** @param {string | null | undefined} text */
const number = (text) => text == null ? null : Number(text);

/** The currencies of what was saved. @param {Row[]} data */
const savedIn = (data) => [...new Set(data.flatMap((row) => Object.keys(row.saved_cost ?? {})))].sort();

/** What was saved of a currency: typical and most. @param {Row[]} data @param {string} currency @returns {[string | null, string | null]} */
const savedOf = (data, currency) => [money(data.map((row) => row.saved_cost?.[currency]?.typical)), money(data.map((row) => row.saved_cost?.[currency]?.most))];

/** The groups that a chart tells apart: the largest ones, and the others together. @param {Row[]} data @param {string} group @param {Value} value */
function largest(data, group, value) {
  const all = [...Map.groupBy(data, (row) => row.group[group] ?? "none")].map(([name, of]) => ({ name, data: of, size: sum(of.map(value)) ?? 0 }));
  all.sort((one, other) => other.size - one.size);
  const rest = all.length > LOOKS ? all.splice(LOOKS - 1) : [];
  return rest.length ? [...all, { name: `${rest.length} others`, data: rest.flatMap((one) => one.data), size: 0 }] : all;
}

/** @param {string} label @param {Usage} usage */
function download(label, usage) {
  return h("button", { type: "button", class: "button quiet", on: { click: () => {
    const href = URL.createObjectURL(new Blob([csv(usage)], { type: "text/csv" }));
    h("a", { href, download: `quell-usage-by-${usage.by.join("-")}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000);
  } } }, label);
}
