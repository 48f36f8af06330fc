/** The figures above the live table. */

import { fmt, h, problem, say } from "./dom.js";
import { figure } from "./tables.js";
import { savedCost, savedTokens, word } from "./words.js";

/** Make the cards; `show` fills them. */
export function makeCards() {
  const live = figure("Live", "–", "now");
  const readingOn = figure("Reading on", "–", "behind a stop");
  const stopped = figure("Stopped", "–", "today");
  const saved = figure("Saved", "–", "today, typical to most");
  const element = h("dl", { class: "cards", "aria-label": "Now and today" }, [live, readingOn, stopped, saved].map((card) => card.node));
  const orphans = problem();
  const draining = h("p", { class: "warning", role: "status", hidden: true });

  /** @param {Summary} summary */
  function show(summary) {
    const { today } = summary;
    say(live.value, fmt.tokens(summary.live));
    say(live.note, summary.queued ? `now, ${fmt.tokens(summary.queued)} of them queued` : "now");
    say(readingOn.value, fmt.tokens(summary.reading_on));
    say(stopped.value, fmt.tokens(today.stopped));
    const causes = Object.entries(today.stops_by_cause).filter(([, n]) => n).sort((a, b) => b[1] - a[1]);
    say(stopped.note, causes.length ? `today: ${causes.map(([cause, n]) => `${fmt.tokens(n)} ${word(cause)}`).join(" · ")}` : `of ${fmt.tokens(today.generations)} today`);
    say(saved.value, today.stopped ? savedTokens(today.saved_tokens.typical, today.saved_tokens.most) : "0");
    const money = Object.entries(today.saved_cost ?? {}).map(([currency, { typical, most }]) => savedCost(typical, most, currency));
    say(saved.note, ["tokens today", ...money].join(" · "));
    orphans.hidden = !summary.orphans;
    say(orphans, `Upstream calls that are still open though nobody wants them any more: ${fmt.tokens(summary.orphans)}. See Health.`);
    draining.hidden = !summary.draining;
    say(draining, "Draining: this replica is shutting down. It takes no new work, and ends when what runs here has ended or its time is over.");
  }

  /** Nothing is known any more of what runs now. */
  function lose() {
    for (const { value } of [live, readingOn]) say(value, "–");
    draining.hidden = orphans.hidden = true;
  }

  return { element, orphans, draining, show, lose, live: (/** @type {number} */ n) => say(live.value, fmt.tokens(n)) };
}
