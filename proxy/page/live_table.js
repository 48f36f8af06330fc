/**
 * The live table: rows by id, in the proxy's order. Nothing moves under the pointer or beside the keyboard's focus:
 * a row that jumps just when somebody presses Stop would stop somebody else's work.
 */

import { h } from "./dom.js";
import { COLUMNS, LINGERS, LiveRow } from "./live_row.js";

/** Milliseconds after which a pointer that rests on the table no longer holds it. */
const POINTER_RESTS = 15_000;
/** Rows that a held table may grow to. */
const MOST_HELD = 100;

export class LiveTable {
  /**
   * @param {Context} ctx
   * @param {{onSort: (sort: string, order: string) => void, onFilter: (name: string, value: string) => void}} hooks
   */
  constructor(ctx, hooks) {
    this.columns = COLUMNS.filter((column) => column.name !== "replica" || ctx.me.replicas);
    this.around = { ctx, columns: this.columns, onFilter: hooks.onFilter };
    this.hooks = hooks;
    /** @type {Map<string, LiveRow>} */
    this.rows = new Map();
    /** @type {string[]} */
    this.order = [];
    this.sort = "";
    this.direction = "desc";
    /** How far the proxy's clock is ahead of this one, in milliseconds. */
    this.ahead = 0;
    this.pointedAt = 0;
    /** Whether the next order is one that was just asked for, which is waited for and not held back. */
    this.asked = false;
    this.heads = new Map(this.columns.map((column) => [column.name, this.head(column)]));
    this.body = h("tbody", { role: "rowgroup" });
    this.element = h("table", { class: "table live", role: "table", "aria-label": "Live generations" },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, [...this.heads.values()])),
      this.body,
    );
    this.body.addEventListener("pointermove", () => { this.pointedAt = Date.now(); });
    this.body.addEventListener("pointerdown", () => { this.pointedAt = Date.now(); });
    this.body.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") this.pointedAt = 0; });
  }

  /** @param {import("./live_row.js").Column} column */
  head(column) {
    const attributes = { scope: "col", role: "columnheader", class: `c-${column.name}${column.number ? " number" : ""}` };
    const { sort, title = null } = column;
    if (!sort) return h("th", attributes, column.label);
    // at first numbers with the largest on top, names from a
    const click = () => this.hooks.onSort(sort, (this.sort === sort ? this.direction === "desc" : !column.number) ? "asc" : "desc");
    return h("th", attributes, h("button", { type: "button", class: "sort", title, on: { click } }, column.label));
  }

  /** Say by which column the rows are sorted. @param {string} sort @param {string} direction */
  sortedBy(sort, direction) {
    [this.sort, this.direction] = [sort, direction];
    for (const column of this.columns) {
      const head = this.heads.get(column.name);
      if (!column.sort) continue;
      if (column.sort === sort) head?.setAttribute("aria-sort", direction === "asc" ? "ascending" : "descending");
      else head?.removeAttribute("aria-sort");
    }
  }

  /** Take what the proxy says of some rows, at its time `at`. @param {Row[]} rows @param {string} at */
  take(rows, at) {
    const moment = Date.parse(at);
    this.ahead = moment - Date.now();
    for (const row of rows) {
      let known = this.rows.get(row.id);
      if (!known || known.endedAt) {
        known?.element.remove();
        known = new LiveRow(row, this.around);
        this.rows.set(row.id, known);
      }
      known.take(row, moment);
    }
  }

  /** @param {Gone[]} gone */
  end(gone) {
    for (const one of gone) this.rows.get(one.id)?.end(one);
    const over = new Set(gone.map((one) => one.id));
    this.order = this.order.filter((id) => !over.has(id));
  }

  get now() {
    return Date.now() + this.ahead;
  }

  /** Why the order stands still now; empty when it does not. */
  get held() {
    if (this.body.querySelector(":focus-visible")) return "focus";
    return Date.now() - this.pointedAt < POINTER_RESTS ? "pointer" : "";
  }

  /** Show all that was taken. */
  draw() {
    const { now } = this;
    for (const row of this.rows.values()) if (!row.endedAt) row.draw(now);
    this.arrange();
    this.asked = false;
  }

  tick() {
    const { now } = this;
    for (const row of this.rows.values()) row.tick(now);
    this.arrange();
  }

  /** Nobody says any more what they do. */
  lose() {
    for (const row of this.rows.values()) if (!row.endedAt) row.drawState("not_known", null);
  }

  /** Put the rows in order and let go of those that are over; while it is held, only new ones come, at the end. */
  arrange() {
    if (this.held && !this.asked) {
      for (const id of this.order) {
        const row = this.rows.get(id);
        if (row && !row.element.isConnected && this.body.rows.length < MOST_HELD) this.body.append(row.element);
      }
      return;
    }
    const wanted = new Set(this.order);
    const over = Date.now() - LINGERS;
    for (const [id, row] of this.rows) {
      if (!wanted.has(id) && row.endedAt <= over) this.drop(id, row);
    }
    /** @type {Element | null} */
    let at = this.body.firstElementChild;
    for (const id of this.order) {
      const element = this.rows.get(id)?.element;
      if (!element) continue;
      while (at && at !== element && !wanted.has(/** @type {HTMLElement} */ (at).dataset.id ?? "")) at = at.nextElementSibling;
      if (at === element) at = at.nextElementSibling;
      else this.place(element, at);
    }
  }

  /** Put a row before another one; a focus that nobody sees, left by a mouse, goes along. @param {HTMLElement} element @param {Element | null} before */
  place(element, before) {
    const inside = element.contains(document.activeElement) ? document.activeElement : null;
    this.body.insertBefore(element, before);
    if (inside instanceof HTMLElement) inside.focus({ preventScroll: true });
  }

  /** Let go of what is neither shown nor will be: while the table is held or paused, thousands come and go unseen. */
  forget() {
    const wanted = new Set(this.order);
    for (const [id, row] of this.rows) if (!wanted.has(id) && !row.element.isConnected) this.rows.delete(id);
  }

  /** @param {string} id @param {LiveRow} row */
  drop(id, row) {
    this.rows.delete(id);
    row.element.remove();
  }

  /** The row that has the focus. */
  get focused() {
    const element = document.activeElement?.closest("tr");
    return element && this.body.contains(element) ? this.rows.get(element.dataset.id ?? "") : undefined;
  }

  /** Move the focus to the next row or the one before. @param {1 | -1} step */
  move(step) {
    const elements = [...this.body.rows];
    const at = this.focused ? elements.indexOf(this.focused.element) + step : step === 1 ? 0 : elements.length - 1;
    const next = elements[Math.min(Math.max(at, 0), elements.length - 1)];
    this.rows.get(next?.dataset.id ?? "")?.link.focus();
  }
}
