/** The figures above the live table. */

import { clear, fmt, h, say } from "./dom.js";
import { savedCost, savedTokens, word } from "./words.js";

/** Make the cards; `show` fills them. */
export function makeCards() {
  const live = card("Live", "now");
  const readingOn = card("Reading on", "behind a stop");
  const stopped = card("Stopped", "today");
  const saved = card("Saved", "today, typical to most");
  const element = h("dl", { class: "cards", "aria-label": "Now and today" }, live.element, readingOn.element, stopped.element, saved.element);
  const orphans = h("p", { class: "error", role: "alert", hidden: true });

  /** @param {Summary} summary */
  function show(summary) {
    const { today } = summary;
    say(live.value, fmt.tokens(summary.live));
    say(live.note, summary.queued ? `now, ${fmt.tokens(summary.queued)} of them queued` : "now");
    say(readingOn.value, fmt.tokens(summary.reading_on));
    say(stopped.value, fmt.tokens(today.stopped));
    const causes = Object.entries(today.stops_by_cause).filter(([, n]) => n).sort((a, b) => b[1] - a[1]);
    say(stopped.note, causes.length ? `today: ${causes.slice(0, 3).map(([cause, n]) => `${fmt.tokens(n)} ${word(cause)}`).join(" · ")}` : `of ${fmt.tokens(today.generations)} today`);
    say(saved.value, today.stopped ? savedTokens(today.saved_tokens.typical, today.saved_tokens.most) : "0");
    const money = Object.entries(today.saved_cost ?? {}).map(([currency, { typical, most }]) => savedCost(typical, most, currency));
    say(saved.note, ["tokens today", ...money].join(" · "));
    orphans.hidden = !summary.orphans;
    if (summary.orphans) {
      clear(orphans, `${fmt.tokens(summary.orphans)} upstream calls are still open, and nobody wants them any more. See Health.`);
    }
  }

  return { element, orphans, show, live: (/** @type {number} */ n) => say(live.value, fmt.tokens(n)) };
}

/** @param {string} label @param {string} under */
function card(label, under) {
  const value = h("dd", { class: "figure" }, "–");
  const note = h("dd", { class: "muted under" }, under);
  return { element: h("div", { class: "card" }, h("dt", null, label), value, note), value, note };
}
