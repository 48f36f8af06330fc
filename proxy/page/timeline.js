/** What happened to a generation, in order. */

import { fmt, h } from "./dom.js";
import { word } from "./words.js";

/** @typedef {{name: string, state: "done" | "next" | "missed", when: string, note: string}} Step */

const PHASES = ["queued", "connecting", "waiting", "streaming", "finished"];

/** @param {Generation} one */
export function timeline(one) {
  return [h("h2", null, "What happened"), h("ol", { class: "steps" }, steps(one).map((step) => h("li", { class: step.state },
    h("span", { class: "step-name" }, step.name),
    h("span", { class: "step-when mono" }, step.when),
    h("span", { class: "muted step-note" }, step.note),
    h("span", { class: "visually-hidden" }, { done: "done", next: "not yet", missed: "did not happen" }[step.state]),
  )))];
}

/** @param {Generation} one @returns {Step[]} */
function steps(one) {
  const started = Date.parse(one.started_at);
  const after = (/** @type {string | null} */ iso) => (iso ? `+${fmt.ms(Date.parse(iso) - started)}` : "");
  const runs = one.outcome === "running";
  const reached = (/** @type {string} */ phase) => PHASES.indexOf(one.phase ?? "") >= PHASES.indexOf(phase);
  const closed = one.upstream_closed_ms;
  /** @param {boolean} is @returns {Step["state"]} */
  const state = (is) => (is ? "done" : runs && !one.cause ? "next" : "missed");
  const connected = reached("waiting") || one.first_token_at !== null || one.outcome === "completed";
  /** @type {Step[]} */
  const told = [
    { name: "Accepted", state: "done", when: fmt.time(one.started_at), note: "" },
    { name: "Connected", state: state(connected), when: "", note: connected ? `to ${one.upstream}` : "" },
    { name: "First token", state: state(one.first_token_at !== null), when: after(one.first_token_at), note: "" },
  ];
  if (one.cause) {
    const asked = one.ended_at && closed !== null ? new Date(Date.parse(one.ended_at) - closed).toISOString() : null;
    told.push(
      { name: "Stop asked", state: "done", when: after(asked), note: one.cancelled_by ? `by ${one.cancelled_by} (${word(one.cause)})` : word(one.cause) },
      { name: "Upstream closed", state: closed === null ? (runs ? "next" : "missed") : "done", when: closed === null ? "" : `${fmt.ms(closed)} later`, note: closed === null && runs ? "it is read on for its usage" : "" },
    );
  } else {
    const note = one.error_kind ? one.error_kind.replaceAll("_", " ") : "";
    told.push({ name: runs || one.outcome === "completed" ? "Answered to its end" : word(one.outcome), state: runs ? "next" : "done", when: after(one.ended_at), note });
  }
  told.push({ name: "Recorded", state: runs ? "next" : "done", when: runs ? "" : fmt.time(one.ended_at), note: runs ? "" : word(one.outcome) });
  return told;
}
