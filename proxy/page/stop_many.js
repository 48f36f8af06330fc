/** The dialog that stops many: whose, how many that is, why, and a count to type when it is more than a few. */

import { ApiError, post } from "./api.js";
import { openDialog } from "./dialog.js";
import { button, clear, field, fmt, h, problem } from "./dom.js";

/** Above so many the count must be typed. */
const WITHOUT_TYPING = 10;
const TYPING = 300;
const MOST_REASON = "500";
const CALL = "/api/generations/cancel";

/**
 * Ask, and stop.
 * @param {Record<string, string>} filters What the table is filtered by.
 * @param {Context} ctx
 */
export function askToStopMany(filters, ctx) {
  openDialog("Stop many", (close) => asking(filters, ctx, close));
}

/** @param {Record<string, string>} filters @param {Context} ctx @param {() => void} close */
function asking(filters, ctx, close) {
  const named = Object.entries(filters).map(([name, value]) => `${name.replace("_", " ")} ${value}`).join(", ");
  const scope = h("select", { name: "scope" },
    h("option", { value: "filter" }, named ? `What the filter shows: ${named}` : "Everything that runs"),
    ["user", "key", "route"].map((name) => h("option", { value: name }, `All of one ${name}`)));
  const value = h("input", { name: "value", autocomplete: "off", spellcheck: "false" });
  const which = field("Which one", value);
  const reason = h("input", { name: "reason", autocomplete: "off", maxlength: MOST_REASON });
  const count = h("p", { class: "count", role: "status" });
  const typed = h("input", { name: "typed", inputmode: "numeric", autocomplete: "off" });
  const confirming = field("", typed);
  const refusal = problem();
  const stop = h("button", { type: "submit", class: "button danger" }, "Stop");
  let [matched, turn, typing] = [0, 0, 0];

  /** What is meant, as the proxy is asked; null while it is not said yet. */
  function selection() {
    if (scope.value === "filter") return named ? filters : { all: true };
    const given = value.value.trim();
    return given ? { [scope.value]: given } : null;
  }

  /** Ask how many that is. */
  async function ask() {
    const now = (turn += 1);
    const chosen = selection();
    which.hidden = scope.value === "filter";
    known(null);
    try {
      const found = chosen && (await post(CALL, { ...chosen, dry_run: true }));
      if (now === turn) known(found);
    } catch (error) {
      if (now === turn) failed(error);
    }
  }

  /** @param {StoppedMany | null} found */
  function known(found) {
    matched = found?.matched.length ?? 0;
    refusal.hidden = true;
    const missing = found?.complete === false ? " Some replicas did not answer; what runs there is not counted." : "";
    clear(count, found ? `${fmt.many(matched, "generation")} now.${missing}` : selection() ? "Counting…" : `Name the ${scope.value}.`);
    confirming.hidden = matched <= WITHOUT_TYPING;
    clear(/** @type {Node} */ (confirming.firstChild), `Type ${matched} to confirm`);
    check();
  }

  function check() {
    clear(stop, matched ? `Stop ${fmt.tokens(matched)}` : "Stop");
    stop.disabled = !matched || (matched > WITHOUT_TYPING && typed.value.trim() !== String(matched));
  }

  /** @param {unknown} error */
  function failed(error) {
    if (!(error instanceof ApiError)) throw error;
    clear(count);
    clear(refusal, error.message);
    refusal.hidden = false;
  }

  /** @param {Event} event */
  function input({ target }) {
    if (target === scope) {
      value.value = filters[scope.value] ?? "";
      ask();
    } else if (target === value) {
      clearTimeout(typing);
      turn += 1;
      typing = window.setTimeout(ask, TYPING);
      known(null);
    } else {
      check();
    }
  }

  /** @param {Event} event */
  async function submit(event) {
    event.preventDefault();
    const chosen = selection();
    if (!chosen || stop.disabled) return;
    stop.disabled = true;
    clear(stop, "Stopping…");
    const why = reason.value.trim();
    try {
      tell(await post(CALL, why ? { ...chosen, reason: why } : chosen));
    } catch (error) {
      failed(error);
      check();
    }
  }

  /** @param {StoppedMany} done */
  function tell(done) {
    const words = [`Stopped ${fmt.many(done.count, "generation")}.`];
    if (done.unconfirmed.length) words.push(`Of ${fmt.tokens(done.unconfirmed.length)} the upstream is not closed yet; they stay in the table until it is.`);
    if (done.complete === false) words.push("Some replicas did not answer; what runs there was not stopped.");
    const leave = button("Done", "primary", close);
    clear(form, h("p", { class: "count" }, words.join(" ")), h("div", { class: "row end" }, leave));
    leave.focus();
    ctx.announce(words.join(" "));
  }

  const form = h("form", { class: "stack", on: { submit, input } },
    field("Stop", scope), which, count, field("Reason", reason, "Kept in each record, with your name."), confirming, refusal,
    h("div", { class: "row end" }, button("Cancel", "", close), stop));
  ask();
  return form;
}
