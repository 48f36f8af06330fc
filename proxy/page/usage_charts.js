/** Which charts the usage screen has, and what each of them is made of. */

import { bars, LOOKS } from "./chart.js";
import { fmt } from "./dom.js";
import { currencies, moment, savedIn, steps, sum } from "./sums.js";

/** @import {Asked, Row, Usage, Value} from "./usage_types.js" */

const CAUSES = ["client", "operator", "disconnect", "deadline", "budget", "shutdown"];
const BAND = "Made; above it, as a band, what stops kept from being made.";
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** @param {Usage} causes By step and cause. @param {Usage} groups By step and group. @param {Asked} asked */
export function charts(causes, groups, { by, group }) {
  const at = steps(causes, by);
  const names = at.map((when) => new Date(when).toISOString().slice(0, by === "hour" ? 16 : 10).replace("T", " "));
  const plain = {
    step: by, steps: names, least: 1, marks: names.map((name) => name.endsWith(" 00:00") ? name.slice(5, 10) : names.length > 48 && by === "hour" ? "" : name.slice(by === "hour" ? 11 : 5)),
    format: (/** @type {number | null} */ value) => value === null ? "–" : short.format(value),
  };
  const inMoney = (/** @type {string} */ currency) => ({ ...plain, least: 0, format: (/** @type {number | null} */ value) => fmt.cost(value, currency) });
  const line = (/** @type {string} */ name, /** @type {Row[]} */ data, /** @type {Value} */ value) => {
    const places = Map.groupBy(data, (row) => moment(row.group[by]));
    return { name, values: at.map((when) => sum((places.get(when) ?? []).map(value))) };
  };
  const split = (/** @type {Value} */ value) => largest(groups.data, group, value).map(({ name, data }) => line(name, data, value));
  const band = (/** @type {Value} */ spent, /** @type {Value} */ typical, /** @type {Value} */ most) => [
    line("Spent", causes.data, spent),
    line("Saved of a typical answer", causes.data, typical),
    line("Saved beyond it, of the longest allowed", causes.data, (row) => most(row) == null ? null : Math.max(0, (most(row) ?? 0) - (typical(row) ?? 0))),
  ];
  const stops = CAUSES.flatMap((cause) => {
    const data = causes.data.filter((row) => row.group.cause === cause);
    return data.length ? line(`${cause}: ${fmt.tokens(sum(data.map((row) => row.generations)))}`, data, (row) => row.generations) : [];
  });
  return [
    bars({ ...plain, title: `Tokens each ${by}`, about: `Prompts and completions, by ${group}.`, series: split((row) => row.total_tokens) }),
    currencies(groups.data).map((currency) => bars({ ...inMoney(currency), title: `Cost each ${by}, ${currency}`, about: `By ${group}.`, series: split((row) => number(row.cost[currency])) })),
    bars({ ...plain, title: "Spent and saved, tokens", about: BAND, series: band((row) => row.completion_tokens, (row) => row.saved_typical, (row) => row.saved_most) }),
    savedIn(causes.data).map(([currency]) => bars({
      ...inMoney(currency), title: `Spent and saved, ${currency}`, about: BAND,
      series: band((row) => number(row.cost[currency]), (row) => number(row.saved_cost?.[currency]?.typical), (row) => number(row.saved_cost?.[currency]?.most)),
    })),
    bars({ ...plain, title: "Stops by cause", about: stops.length ? "Who or what ended generations early." : "Nothing was stopped in this span.", series: stops }),
  ];
}

/** @param {string | null | undefined} text */
const number = (text) => text == null ? null : Number(text);

/** The groups that a chart tells apart: the largest ones, and the others together. @param {Row[]} data @param {string} group @param {Value} value */
function largest(data, group, value) {
  const all = [...Map.groupBy(data, (row) => row.group[group] ?? "none")].map(([name, of]) => ({ name, data: of, size: sum(of.map(value)) ?? 0 }));
  all.sort((one, other) => other.size - one.size);
  const rest = all.length > LOOKS ? all.splice(LOOKS - 1) : [];
  return rest.length ? [...all, { name: `${rest.length} others`, data: rest.flatMap((one) => one.data), size: 0 }] : all;
}
