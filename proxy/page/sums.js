/** What is done with the sums behind the charts: put on the time line, added up, and written as CSV. */

/** @import {Row, Usage} from "./usage_types.js" */

const BEFORE = ["generations", "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens", "unknown"];
const BEHIND = ["cost_unknown", "saved_typical", "saved_most", "late_tokens"];

/** The start of an hour or a day as the API names it, in milliseconds. @param {string | null | undefined} name */
export const moment = (name) => Date.parse(`${(name ?? "").slice(0, 13).padEnd(13, "T00")}:00Z`);

/** Every hour or day of a span, the empty ones too. @param {Usage} usage @param {string} by */
export function steps({ since, until, data }, by) {
  const length = by === "hour" ? 3_600_000 : 86_400_000;
  const given = data.map(({ group }) => moment(group[by])).filter((at) => at > 0);
  const last = Math.max(until ? Date.parse(until) - 1 : Date.now(), ...given);
  const from = Math.floor(Math.min(since ? Date.parse(since) : last, ...given) / length);
  return Array.from({ length: Math.floor(last / length) - from + 1 }, (_, at) => (from + at) * length);
}

/** @param {Row[]} rows */
export const currencies = (rows) => [...new Set(rows.flatMap(({ cost }) => Object.keys(cost)))].sort();

/** The sum of what is known; null: nothing is. @param {(number | null | undefined)[]} values */
export function sum(values) {
  const known = values.filter((value) => value != null);
  return known.length ? known.reduce((all, value) => all + value, 0) : null;
}

/** The exact sum of the amounts that are known. @param {(string | null | undefined)[]} amounts */
export function money(amounts) {
  const known = amounts.filter((amount) => amount != null);
  const parts = known.map((amount) => {
    const [whole = "", behind = ""] = amount.split(".");
    return BigInt(whole + behind.padEnd(12, "0"));
  });
  const digits = String(parts.reduce((all, part) => all + part, 0n)).padStart(13, "0");
  return known.length ? `${digits.slice(0, -12)}.${digits.slice(-12)}` : null;
}

/** What was saved of each currency: typical and most. @param {Row[]} data @returns {[string, string | null, string | null][]} */
export function savedIn(data) {
  const known = new Set(data.flatMap((row) => Object.keys(row.saved_cost ?? {})));
  return [...known].sort().map((currency) => {
    const saved = data.map((row) => row.saved_cost?.[currency]);
    return [currency, money(saved.map((one) => one?.typical)), money(saved.map((one) => one?.most))];
  });
}

/** The rows as `quell usage -o csv` prints them, byte for byte. @param {Usage} usage */
export function csv({ by, data }) {
  const costs = currencies(data);
  const rows = data.map((row) => [
    ...by.map((name) => row.group[name]), ...BEFORE.map((name) => row[name]), ...costs.map((name) => row.cost[name]), ...BEHIND.map((name) => row[name]),
  ]);
  return [[...by, ...BEFORE, ...costs.map((name) => `cost_${name}`), ...BEHIND], ...rows].map((row) => `${row.map(cell).join()}\r\n`).join("");
}

/** A cell that no spreadsheet takes for a formula. @param {unknown} value */
function cell(value) {
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
