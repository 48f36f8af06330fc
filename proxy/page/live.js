/** What runs now, and stopping it. */

import { button, fmt, h, say } from "./dom.js";
import { isForThePage } from "./keys.js";
import { makeCards } from "./live_cards.js";
import { makeFilters } from "./live_filters.js";
import { COLUMNS } from "./live_row.js";
import { LiveTable } from "./live_table.js";
import { whyNot } from "./stop.js";
import { askToStopMany } from "./stop_many.js";

export const title = "Live";

const PAGE = 50;
/** Milliseconds after which a page that nobody sees no longer follows what runs. */
const UNSEEN = 60_000;

/**
 * @param {HTMLElement} root
 * @param {URLSearchParams} query
 * @param {Context} ctx
 */
export function show(root, query, ctx) {
  const screen = new Live(query, ctx);
  root.append(...screen.parts);
  screen.follow();
  return () => screen.leave();
}

class Live {
  /** @param {URLSearchParams} query @param {Context} ctx */
  constructor(query, ctx) {
    this.ctx = ctx;
    this.sort = query.get("sort") ?? "age";
    this.direction = query.get("order") === "asc" ? "asc" : "desc";
    this.offset = Math.max(0, Number(query.get("offset")) || 0);
    this.matched = 0;
    this.total = 0;
    this.isComplete = true;
    this.isPaused = false;
    this.missed = 0;
    /** @type {(() => void) | null} */
    this.close = null;
    this.unseen = 0;

    this.cards = makeCards();
    this.filters = makeFilters(query, () => this.choose());
    this.table = new LiveTable(ctx, {
      onSort: (sort, order) => this.sortBy(sort, order),
      onFilter: (name, value) => this.filters.set(name, value),
    });
    this.status = h("p", { class: "muted table-status", id: "table-status" });
    this.problem = h("p", { class: "error", role: "alert", hidden: true });
    this.empty = h("p", { class: "empty", hidden: true });
    this.pause = button("Pause", "small", () => this.hold(!this.isPaused), { "aria-pressed": "false" });
    const because = whyNot(ctx.me);
    const stopAll = button("Stop all…", "danger small", () => askToStopMany(this.filters.given(), ctx), { disabled: because !== "", title: because || null });
    this.narrowSort = h("select", { id: "narrow-sort", on: { change: () => this.sortBy(this.narrowSort.value, this.direction) } },
      COLUMNS.filter((column) => column.sort).map((column) => h("option", { value: column.sort }, column.label)));
    this.turnRound = button("", "small", () => this.sortBy(this.sort, this.direction === "asc" ? "desc" : "asc"));
    this.before = button("Back", "small", () => this.turn(-PAGE));
    this.after = button("Next", "small", () => this.turn(PAGE));
    this.place = h("span", { class: "muted" });
    this.pager = h("nav", { class: "row pager", "aria-label": "Pages of the table", hidden: true }, this.before, this.place, this.after);
    this.parts = [
      h("div", { class: "screen-head" }, h("h1", null, "Live"), h("div", { class: "row" }, this.pause, stopAll)),
      because ? h("p", { class: "notice" }, because) : "",
      this.cards.element, this.cards.orphans, this.filters.element, this.problem,
      h("div", { class: "row table-head" }, this.status,
        h("div", { class: "narrow-only row" }, h("label", { for: "narrow-sort" }, "Sort by"), this.narrowSort,
          this.turnRound)),
      h("div", { class: "table-wrap", tabindex: "-1" }, this.table.element),
      this.empty, this.pager,
    ];
    this.ticking = window.setInterval(() => this.tick(), 1000);
    this.onKey = (/** @type {KeyboardEvent} */ event) => this.key(event);
    this.onSight = () => this.sight();
    document.addEventListener("keydown", this.onKey);
    document.addEventListener("visibilitychange", this.onSight);
  }

  leave() {
    this.close?.();
    this.filters.leave();
    clearInterval(this.ticking);
    clearTimeout(this.unseen);
    document.removeEventListener("keydown", this.onKey);
    document.removeEventListener("visibilitychange", this.onSight);
  }

  /** The query of what is asked for, and of the address. */
  get params() {
    const { sort, direction: order, offset } = this;
    const params = new URLSearchParams(this.filters.given());
    if (sort !== "age" || order !== "desc") {
      params.set("sort", sort);
      params.set("order", order);
    }
    if (offset) params.set("offset", String(offset));
    return params;
  }

  /** Follow from now on what is asked for. */
  follow() {
    this.close?.();
    const params = this.params;
    params.set("sort", this.sort);
    params.set("order", this.direction);
    params.set("limit", String(PAGE));
    this.table.sortedBy(this.sort, this.direction);
    this.narrowSort.value = this.sort;
    say(this.turnRound, this.direction === "asc" ? "Rising" : "Falling");
    this.close = this.ctx.api.feed(params, {
      onPage: (page) => {
        this.table.take(page.rows, page.at);
        this.filters.offer(page.rows);
        this.table.order = page.rows.map((row) => row.id);
        this.changed(page);
      },
      onChange: (change) => {
        this.table.take(change.rows, change.at);
        this.filters.offer(change.rows);
        if (change.order) this.table.order = change.order;
        this.table.end(change.gone);
        this.changed(change);
      },
      onSummary: (summary) => this.cards.show(summary),
      onState: (state, error) => this.told(state, error),
    });
  }

  /** @param {"open" | "lost" | "refused"} state @param {import("./api.js").ApiError} [error] */
  told(state, error) {
    this.table.element.classList.toggle("old", state !== "open");
    this.problem.hidden = state !== "refused";
    say(this.problem, error?.message ?? "");
    if (state === "refused") say(this.status, "");
  }

  /** @param {{matched: number, total: number, complete?: boolean}} news */
  changed(news) {
    this.matched = news.matched;
    this.total = news.total;
    this.isComplete = news.complete !== false;
    this.cards.live(news.total);
    this.table.forget();
    if (this.isPaused) this.missed += 1;
    else this.table.draw();
    this.describe();
  }

  tick() {
    if (!this.isPaused) this.table.tick();
    this.describe();
  }

  /** Say what the table shows, and why it stands still. */
  describe() {
    const { matched, total, offset } = this;
    const filtered = Object.keys(this.filters.given()).length > 0;
    const words = [filtered ? `${fmt.tokens(matched)} of ${fmt.tokens(total)} live` : `${fmt.tokens(total)} live`];
    if (this.isPaused) words.push(this.missed ? "paused, there are changes" : "paused");
    else if (this.table.held === "pointer") words.push("order held while you point at it");
    else if (this.table.held === "focus") words.push("order held while you are in it");
    if (!this.isComplete) words.push("some replicas did not answer, what runs there is not shown");
    say(this.status, words.join(" · "));
    this.empty.hidden = matched > 0 || this.table.body.rows.length > 0;
    if (!this.empty.hidden) say(this.empty, total ? "Nothing that runs fits the filter." : "Nothing runs now. A call that goes through the proxy shows up here at once.");
    this.table.element.hidden = !this.empty.hidden;
    this.pager.hidden = matched <= PAGE && !offset;
    say(this.place, `${fmt.tokens(Math.min(offset + 1, matched))} to ${fmt.tokens(Math.min(offset + PAGE, matched))} of ${fmt.tokens(matched)}`);
    this.before.disabled = !offset;
    this.after.disabled = offset + PAGE >= matched;
  }

  /** Filters changed. */
  choose() {
    this.offset = 0;
    this.renew();
  }

  /** @param {string} sort @param {string} direction */
  sortBy(sort, direction) {
    [this.sort, this.direction, this.offset] = [sort, direction, 0];
    this.renew();
  }

  /** @param {number} by */
  turn(by) {
    this.offset = Math.max(0, this.offset + by);
    this.renew();
  }

  renew() {
    this.ctx.setQuery(this.params);
    this.table.asked = true;
    if (this.isPaused) this.hold(false);
    this.follow();
  }

  /** @param {boolean} isPaused */
  hold(isPaused) {
    this.isPaused = isPaused;
    this.missed = 0;
    this.pause.setAttribute("aria-pressed", String(isPaused));
    say(this.pause, isPaused ? "Go on" : "Pause");
    if (!isPaused) this.table.draw();
    this.describe();
  }

  /** A page in the background stops following after a while, and costs the proxy nothing then. */
  sight() {
    clearTimeout(this.unseen);
    if (document.hidden) {
      this.unseen = window.setTimeout(() => {
        this.close?.();
        this.close = null;
      }, UNSEEN);
    } else if (!this.close) {
      this.follow();
    }
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (!isForThePage(event)) return;
    const { focused } = this.table;
    if (event.key === "j") this.table.move(1);
    else if (event.key === "k") this.table.move(-1);
    else if (event.key === "s" && focused) focused.stop.press();
    else if (event.key === "p") this.hold(!this.isPaused);
    else if (event.key === "/") this.filters.focus();
    else return;
    event.preventDefault();
  }
}
