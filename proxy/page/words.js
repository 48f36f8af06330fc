/** The words and signs for what a generation does, how it ended, and what a stop did. A sign never stands alone. */

import { fmt, h, s } from "./dom.js";

/** @type {Record<string, [word: string, sign: keyof typeof SIGNS, tone: string]>} */
const STATES = {
  queued: ["queued", "ring", "calm"],
  connecting: ["connecting", "ring", "calm"],
  waiting: ["waiting", "ring", "calm"],
  streaming: ["streaming", "disc", "live"],
  reading_on: ["reading on", "arrow", "warn"],
  running: ["running", "disc", "live"],
  completed: ["completed", "check", "good"],
  cancelled: ["stopped", "square", "stopped"],
  client_gone: ["client gone", "square", "stopped"],
  timed_out: ["timed out", "bang", "warn"],
  failed: ["failed", "cross", "bad"],
  interrupted: ["interrupted", "bang", "bad"],
  asked: ["stopping", "square", "warn"],
};

const SIGNS = {
  disc: "M8 4a4 4 0 1 0 0 8a4 4 0 0 0 0-8z",
  ring: "M8 3.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 0 0 0-9zm0 1.8a2.7 2.7 0 1 1 0 5.4a2.7 2.7 0 0 1 0-5.4z",
  arrow: "M3 7.2h6V4.5L13.5 8L9 11.5V8.8H3z",
  check: "M3.2 8.3l1.3-1.3l2.3 2.3l4.7-5l1.3 1.2l-6 6.4z",
  square: "M4 4h8v8H4z",
  bang: "M7.1 3h1.8v6.2H7.1zm0 7.6h1.8v1.9H7.1z",
  cross: "M4.7 3.5L8 6.8l3.3-3.3l1.2 1.2L9.2 8l3.3 3.3l-1.2 1.2L8 9.2l-3.3 3.3l-1.2-1.2L6.8 8L3.5 4.7z",
};

/** The word of a state or an outcome. @param {string} name */
export function word(name) {
  return STATES[name]?.[0] ?? name.replaceAll("_", " ");
}

/**
 * The sign and the word of a state or an outcome.
 * @param {string} name
 * @param {string | null} [more] What stands behind the word, such as who asked for the stop.
 */
export function stateTag(name, more) {
  const [text, sign, tone] = STATES[name] ?? [name.replaceAll("_", " "), "ring", "calm"];
  return signed(tone, sign, more ? `${text} · ${more}` : text);
}

/** A sign, and the words that it stands beside. @param {string} tone @param {keyof typeof SIGNS} sign @param {string} text */
export function signed(tone, sign, text) {
  return h("span", { class: `state ${tone}` }, signOf(sign), h("span", null, text));
}

/** @param {keyof typeof SIGNS} name */
function signOf(name) {
  return s("svg", { viewBox: "0 0 16 16", class: "sign", "aria-hidden": "true", focusable: "false" }, s("path", { d: SIGNS[name] }));
}

/** The first characters of an id, as people tell ids apart. @param {string} id */
export function shortId(id) {
  return id.length > 13 ? `${id.slice(0, 8)}…` : id;
}

/**
 * What a stop really did, in a few words.
 * @param {Receipt} receipt
 */
export function resultWords(receipt) {
  if (receipt.result === "already_finished") return `had ended: ${word(receipt.status)}`;
  if (receipt.result === "stopping") return "not closed yet";
  return receipt.upstream_closed_ms === null ? "stopped" : `stopped in ${fmt.ms(receipt.upstream_closed_ms)}`;
}

/**
 * The same as a sentence, for those who don't see the table.
 * @param {Receipt} receipt
 */
export function resultSentence(receipt) {
  const id = shortId(receipt.task_id);
  if (receipt.result === "already_finished") return `${id} had already ended: ${word(receipt.status)}.`;
  if (receipt.result === "stopping") return `The stop of ${id} is under way; its upstream is not closed yet.`;
  const { completion_tokens: tokens } = receipt.usage;
  const after = tokens === null ? "" : ` after ${fmt.tokens(tokens)} tokens`;
  const closed = receipt.upstream_closed_ms;
  return `Stopped ${id}${after}${closed === null ? "" : `, upstream closed in ${fmt.ms(closed)}`}.`;
}

/** The tokens of an answer; a number that is an estimate has a `~`. @param {{completion_tokens: Count, usage_source: string}} of */
export const about = ({ completion_tokens: count, usage_source: source }) => (source === "estimate" && count !== null ? "~" : "") + fmt.tokens(count);

/**
 * A saving as it can truly be said: between what a typical answer and what the longest allowed one would have had.
 * @param {number | null | undefined} typical
 * @param {number | null | undefined} most
 */
export function savedTokens(typical, most) {
  return range(typical, most, (n) => fmt.tokens(Number(n)));
}

/**
 * The same in money.
 * @param {string | null | undefined} typical
 * @param {string | null | undefined} most
 * @param {string} currency
 */
export function savedCost(typical, most, currency) {
  return range(typical, most, (text) => fmt.cost(text, currency));
}

/**
 * @template T
 * @param {T | null | undefined} typical
 * @param {T | null | undefined} most
 * @param {(value: T) => string} told
 */
function range(typical, most, told) {
  if (typical == null && most == null) return "not known";
  if (typical == null) return `up to ${told(/** @type {T} */ (most))}`;
  if (most == null) return `about ${told(typical)}`;
  return Number(typical) >= Number(most) ? `up to ${told(most)}` : `${told(typical)} to ${told(most)}`;
}
