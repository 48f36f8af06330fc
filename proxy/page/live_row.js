/** One row of the live table. Its elements are made once; later only the texts that changed are touched. */

import { fmt, h, say } from "./dom.js";
import { stopButton } from "./stop.js";
import { about, shortId, stateTag } from "./words.js";

/** @typedef {{name: string, label: string, sort?: string, number?: boolean, title?: string}} Column */

/** @type {Column[]} */
export const COLUMNS = [
  { name: "id", label: "Generation" },
  { name: "age", label: "Age", sort: "age", number: true },
  { name: "state", label: "State", sort: "state" },
  { name: "model", label: "Model", sort: "model" },
  { name: "route", label: "Route", sort: "route" },
  { name: "user", label: "User", sort: "user" },
  { name: "key", label: "Key", sort: "key" },
  { name: "tokens", label: "Tokens", sort: "tokens", number: true, title: "~ is an estimate from the text" },
  { name: "rate", label: "Rate", number: true },
  { name: "cost", label: "Cost", sort: "cost", number: true },
  { name: "replica", label: "Replica", sort: "replica" },
  { name: "act", label: "Stop" },
];

/** Seconds over which a rate is taken; before that it is the average since the first token. */
const RATE_OVER = 5;
/** Milliseconds for which a row stays after its end. */
export const LINGERS = 6000;

/** What a table asks of its rows: the filter behind a cell's text, and the columns that are shown. */
/** @typedef {{onFilter: (name: string, value: string) => void, columns: Column[], ctx: Context}} Around */

export class LiveRow {
  /** @param {Row} row @param {Around} around */
  constructor(row, around) {
    this.id = row.id;
    this.around = around;
    this.row = row;
    /** When it ended, in milliseconds of the browser's clock; 0 while it lives. */
    this.endedAt = 0;
    /** @type {{at: number, tokens: number}[]} */
    this.samples = [];
    this.state = "";
    this.stop = stopButton({ id: row.id, taskId: row.task_id, whose: row.user ? ` of ${row.user}` : "" }, around.ctx);
    this.link = h("a", { class: "mono", href: `#/generation/${encodeURIComponent(row.id)}`, title: row.task_id }, shortId(row.task_id));
    /** @type {Record<string, HTMLElement>} */
    this.cells = Object.fromEntries(around.columns.map((column) => [column.name, this.cell(column)]));
    this.element = h("tr", { role: "row", data: { id: row.id } }, Object.values(this.cells));
  }

  /** @param {Column} column */
  cell(column) {
    const { row } = this;
    const attributes = { class: `c-${column.name}${column.number ? " number" : ""}`, role: "cell", data: { label: column.label } };
    switch (column.name) {
      case "id": return h("td", attributes, this.link);
      case "act": return h("td", attributes, this.stop.button);
      case "model": return h("td", attributes, this.filter("model", row.model));
      case "route": return h("td", attributes, this.filter("route", row.route), h("span", { class: "muted" }, ` ${row.dialect}`));
      case "user": return h("td", attributes, this.filter("user", row.user));
      case "key": return h("td", attributes, this.filter("key", row.key_id));
      case "replica": return h("td", attributes, row.replica);
      default: return h("td", attributes);
    }
  }

  /**
   * A value that filters by itself when it is clicked. With the keyboard the filter fields do the same, so that
   * Tab need not go through each of these.
   * @param {string} name
   * @param {string | null} value
   */
  filter(name, value) {
    if (value === null || value === "") return h("span", { class: "muted" }, "–");
    const click = () => this.around.onFilter(name, value);
    return h("button", { type: "button", class: "cell-filter", tabindex: "-1", title: `Only ${name} ${value}`, on: { click } }, value);
  }

  /** Take what the proxy says now. @param {Row} row @param {number} at The proxy's clock, in milliseconds. */
  take(row, at) {
    this.row = row;
    if (row.completion_tokens !== null) {
      this.samples.push({ at, tokens: row.completion_tokens });
      while (this.samples.length > 2 && at - (this.samples[1]?.at ?? at) > RATE_OVER * 1000) this.samples.shift();
    }
  }

  /** Show it. @param {number} now The proxy's clock, in milliseconds. */
  draw(now) {
    const { cells, row } = this;
    this.drawState(row.state === "reading_on" ? "reading_on" : row.cancel_asked ? "asked" : row.state, null);
    say(cells.tokens, tokensOf(row));
    say(cells.cost, fmt.cost(row.cost, row.currency));
    this.tick(now);
  }

  /** What changes with the time alone. @param {number} now */
  tick(now) {
    if (this.endedAt) return;
    say(this.cells.age, fmt.age((now - Date.parse(this.row.started_at)) / 1000));
    say(this.cells.rate, this.rate(now));
  }

  /** @param {number} now */
  rate(now) {
    const [first, last] = [this.samples[0], this.samples.at(-1)];
    if (this.row.state !== "streaming" || !last) return "–";
    const began = this.row.first_token_at ? Date.parse(this.row.first_token_at) : NaN;
    const whole = first && last.at - first.at >= 1000 ? first : { at: began, tokens: 0 };
    const seconds = (Math.max(last.at, whole === first ? now - 2000 : now) - whole.at) / 1000;
    return seconds > 0.5 ? `${Math.round((last.tokens - whole.tokens) / seconds)}/s` : "–";
  }

  /** @param {string} name @param {string | null} more */
  drawState(name, more) {
    const said = `${name} ${more ?? ""}`;
    if (said === this.state) return;
    this.state = said;
    this.cells.state.replaceChildren(stateTag(name, more));
  }

  /** It ended. @param {Gone} gone */
  end(gone) {
    this.endedAt = Date.now();
    this.element.classList.add("ended");
    const stopped = gone.cause !== null && ["cancelled", "client_gone", "timed_out"].includes(gone.outcome);
    this.drawState(gone.outcome, stopped ? gone.cause : null);
    say(this.cells.age, fmt.age(gone.elapsed_seconds));
    say(this.cells.rate, "–");
    if (gone.completion_tokens !== null) say(this.cells.tokens, about(gone));
    const closed = gone.upstream_closed_ms;
    this.stop.ended(stopped && closed !== null ? `stopped in ${fmt.ms(closed)}` : "ended");
  }
}

/** @param {Row} row */
function tokensOf(row) {
  if (row.completion_tokens !== null) return about(row);
  return row.characters ? `${fmt.tokens(row.characters)} ch` : "–";
}
