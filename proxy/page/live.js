/** What runs now, and stopping it. */

import { button, clear, fmt, h, problem, say } from "./dom.js";
import { isForThePage } from "./keys.js";
import { makeCards } from "./live_cards.js";
import { makeFilters } from "./live_filters.js";
import { LiveTable } from "./live_table.js";
import { whyNot } from "./stop.js";
import { askToStopMany } from "./stop_many.js";

export const title = "Live";

const PAGE = 50;
/** Milliseconds after which a page that nobody sees no longer follows what runs. */
const UNSEEN = 60_000;

/** @type {PageScreen["show"]} */
export function show(root, query, ctx) {
  let sort = query.get("sort") ?? "age";
  let direction = query.get("order") === "asc" ? "asc" : "desc";
  let offset = Math.max(0, Number(query.get("offset")) || 0);
  let [matched, total, missed, unseen] = [0, 0, 0, 0];
  let [isComplete, isPaused, isKnown, isLost] = [true, false, false, false];
  /** @type {(() => void) | null} */
  let close = null;

  const cards = makeCards();
  const filters = makeFilters(query, choose);
  const table = new LiveTable(ctx, { onSort: sortBy, onFilter: (name, value) => filters.set(name, value) });
  const status = h("p", { class: "muted table-status", id: "table-status" });
  const refusal = problem();
  const empty = h("p", { class: "empty", hidden: true });
  const pause = button("Pause", "small", () => hold(!isPaused), { "aria-pressed": "false" });
  const because = whyNot(ctx.me);
  const stopAll = button("Stop all…", "danger small", () => askToStopMany(filters.given(), ctx), { disabled: because !== "", title: because || null });
  const before = button("Back", "small", () => turn(-PAGE));
  const after = button("Next", "small", () => turn(PAGE));
  const place = h("span", { class: "muted" });
  const pager = h("nav", { class: "row pager", "aria-label": "Pages of the table", hidden: true }, before, place, after);
  clear(root,
    h("div", { class: "screen-head" }, h("h1", null, title), h("div", { class: "row" }, pause, stopAll)),
    because && h("p", { class: "notice" }, because),
    cards.draining, cards.element, cards.orphans, filters.element, refusal,
    status, h("div", { class: "table-wrap", tabindex: "-1" }, table.element),
    empty, pager);
  const ticking = setInterval(tick, 1000);
  document.addEventListener("keydown", key);
  document.addEventListener("visibilitychange", sight);
  follow();
  return () => {
    close?.();
    filters.leave();
    clearInterval(ticking);
    clearTimeout(unseen);
    document.removeEventListener("keydown", key);
    document.removeEventListener("visibilitychange", sight);
  };

  /** The query of what is asked for, as the address has it. */
  function params() {
    const asked = new URLSearchParams(filters.given());
    if (sort !== "age" || direction !== "desc") {
      asked.set("sort", sort);
      asked.set("order", direction);
    }
    if (offset) asked.set("offset", String(offset));
    return asked;
  }

  /** Follow from now on what is asked for. */
  function follow() {
    close?.();
    isKnown = false;
    const asked = params();
    asked.set("sort", sort);
    asked.set("order", direction);
    asked.set("limit", String(PAGE));
    table.sortedBy(sort, direction);
    close = ctx.api.feed(asked, {
      onPage: (page) => take({ ...page, order: page.rows.map(({ id }) => id), gone: [] }),
      onChange: take,
      onSummary: cards.show,
      onState: told,
    });
  }

  /** @param {ChangeEvent} news */
  function take(news) {
    table.take(news.rows, news.at);
    filters.offer(news.rows);
    if (news.order) table.order = news.order;
    table.end(news.gone);
    ({ matched, total } = news);
    [isComplete, isKnown] = [news.complete !== false, true];
    cards.live(total);
    table.forget();
    if (isPaused) missed += 1;
    else table.draw();
    describe();
  }

  /** @param {"open" | "lost" | "refused"} state @param {import("./api.js").ApiError} [error] */
  function told(state, error) {
    isLost = state !== "open";
    table.element.classList.toggle("old", isLost);
    refusal.hidden = state !== "refused";
    say(refusal, error?.message ?? "");
    if (state !== "refused") return;
    isKnown = false;
    empty.hidden = true;
    say(status, "");
  }

  /** What is no longer told is no longer known; a connection that comes back at once is nobody's business. */
  function tick() {
    if (isLost) {
      table.lose();
      cards.lose();
    } else if (!isPaused) {
      table.tick();
    }
    describe();
  }

  /** Say what the table shows, and why it stands still; nothing while what was asked for has not come. */
  function describe() {
    if (!isKnown) return;
    const filtered = Object.keys(filters.given()).length > 0;
    const words = isLost ? ["not known now: the connection is lost"] : [filtered ? `${fmt.tokens(matched)} of ${fmt.tokens(total)} live` : `${fmt.tokens(total)} live`];
    if (isPaused) words.push(missed ? "paused, there are changes" : "paused");
    else if (table.held) words.push(`order held while you ${table.held === "focus" ? "are in" : "point at"} it`);
    if (!isComplete) words.push("not all is known: rows may be old or missing");
    say(status, words.join(" · "));
    empty.hidden = matched > 0 || table.body.rows.length > 0;
    if (!empty.hidden) say(empty, total ? "Nothing that runs fits the filter." : "Nothing runs now. A call that goes through the proxy shows up here at once.");
    table.element.hidden = !empty.hidden;
    pager.hidden = matched <= PAGE && !offset;
    say(place, `${fmt.tokens(Math.min(offset + 1, matched))} to ${fmt.tokens(Math.min(offset + PAGE, matched))} of ${fmt.tokens(matched)}`);
    before.disabled = !offset;
    after.disabled = offset + PAGE >= matched;
  }

  /** Filters changed. */
  function choose() {
    offset = 0;
    renew();
  }

  /** @param {string} by @param {string} order */
  function sortBy(by, order) {
    [sort, direction, offset] = [by, order, 0];
    renew();
  }

  /** @param {number} by */
  function turn(by) {
    offset = Math.max(0, offset + by);
    renew();
  }

  function renew() {
    ctx.setQuery(params());
    table.asked = true;
    if (isPaused) hold(false);
    follow();
  }

  /** @param {boolean} is */
  function hold(is) {
    [isPaused, missed] = [is, 0];
    pause.setAttribute("aria-pressed", String(is));
    say(pause, is ? "Go on" : "Pause");
    if (!is) table.draw();
    describe();
  }

  /** A page in the background stops following after a while, and costs the proxy nothing then. */
  function sight() {
    clearTimeout(unseen);
    if (document.hidden) {
      unseen = window.setTimeout(() => {
        close?.();
        close = null;
      }, UNSEEN);
    } else if (!close) {
      follow();
    }
  }

  /** @param {KeyboardEvent} event */
  function key(event) {
    if (!isForThePage(event)) return;
    const { focused } = table;
    if (event.key === "j") table.move(1);
    else if (event.key === "k") table.move(-1);
    else if (event.key === "s" && focused) focused.stop.press();
    else if (event.key === "p") hold(!isPaused);
    else if (event.key === "/") filters.focus();
    else return;
    event.preventDefault();
  }
}
