/** The dialog that stops many: whose, how many that is, why, and a count to type when it is more than a few. */

import { ApiError, post } from "./api.js";
import { openDialog } from "./dialog.js";
import { clear, field, fmt, h } from "./dom.js";

/** @typedef {import("./shapes.js").StoppedMany} StoppedMany */

/** Above so many the count must be typed. */
const WITHOUT_TYPING = 10;
const TYPING = 300;
const MOST_REASON = 500;

/**
 * Ask, and stop.
 * @param {Record<string, string>} filters What the table is filtered by.
 * @param {import("./shapes.js").Context} ctx
 */
export function askToStopMany(filters, ctx) {
  openDialog("Stop many", (close) => new Asking(filters, ctx, close).content, { kind: "stop-many" });
}

class Asking {
  /** @param {Record<string, string>} filters @param {import("./shapes.js").Context} ctx @param {() => void} close */
  constructor(filters, ctx, close) {
    this.ctx = ctx;
    this.close = close;
    this.filters = filters;
    this.matched = 0;
    this.turn = 0;
    this.typing = 0;
    const named = Object.entries(filters).map(([name, value]) => `${name.replace("_", " ")} ${value}`).join(", ");
    this.scope = h("select", { name: "scope" },
      h("option", { value: "filter" }, named ? `What the filter shows: ${named}` : "Everything that runs"),
      ["user", "key", "route"].map((name) => h("option", { value: name }, `All of one ${name}`)),
    );
    this.value = h("input", { name: "value", autocomplete: "off", spellcheck: "false" });
    this.valueField = field("Which one", this.value);
    this.reason = h("input", { name: "reason", autocomplete: "off", maxlength: String(MOST_REASON) });
    this.count = h("p", { class: "count", role: "status" });
    this.typed = h("input", { name: "typed", inputmode: "numeric", autocomplete: "off" });
    this.typedLabel = field("", this.typed);
    this.problem = h("p", { class: "error", role: "alert", hidden: true });
    this.button = h("button", { type: "submit", class: "button danger" }, "Stop");
    this.content = h("form", {
      class: "stack",
      on: { submit: (event) => this.submit(event), input: (event) => this.input(event) },
    },
      field("Stop", this.scope), this.valueField, this.count,
      field("Reason", this.reason, "Kept in each record, with your name."),
      this.typedLabel, this.problem,
      h("div", { class: "row end" }, h("button", { type: "button", class: "button", on: { click: close } }, "Cancel"), this.button),
    );
    this.ask();
  }

  /** What is meant, as the proxy is asked; null while it is not said yet. */
  get selection() {
    const name = this.scope.value;
    if (name === "filter") return Object.keys(this.filters).length ? this.filters : { all: true };
    const value = this.value.value.trim();
    return value ? { [name]: value } : null;
  }

  /** @param {Event} event */
  input(event) {
    if (event.target === this.scope) {
      this.value.value = this.filters[this.scope.value] ?? "";
      this.ask();
    } else if (event.target === this.value) {
      clearTimeout(this.typing);
      this.typing = window.setTimeout(() => this.ask(), TYPING);
      this.known(null);
    } else {
      this.check();
    }
  }

  /** Ask how many that is. */
  async ask() {
    const turn = (this.turn += 1);
    this.valueField.hidden = this.scope.value === "filter";
    this.known(null);
    const { selection } = this;
    if (!selection) return;
    try {
      /** @type {StoppedMany} */
      const found = await post("/api/generations/cancel", { ...selection, dry_run: true });
      if (turn === this.turn) this.known(found);
    } catch (error) {
      if (turn === this.turn) this.failed(error);
    }
  }

  /** @param {StoppedMany | null} found */
  known(found) {
    this.matched = found?.matched.length ?? 0;
    this.problem.hidden = true;
    const missing = found?.complete === false ? " Some replicas did not answer; what runs there is not counted." : "";
    const waiting = this.selection ? "Counting…" : `Name the ${this.scope.value}.`;
    clear(this.count, found ? `${things(this.matched)} now.${missing}` : waiting);
    this.typedLabel.hidden = this.matched <= WITHOUT_TYPING;
    clear(/** @type {Node} */ (this.typedLabel.querySelector("label")), `Type ${this.matched} to confirm`);
    clear(this.button, this.matched ? `Stop ${fmt.tokens(this.matched)}` : "Stop");
    this.check();
  }

  check() {
    const sure = this.matched <= WITHOUT_TYPING || this.typed.value.trim() === String(this.matched);
    this.button.disabled = !this.matched || !sure;
  }

  /** @param {unknown} error */
  failed(error) {
    if (!(error instanceof ApiError)) throw error;
    clear(this.count);
    clear(this.problem, error.message);
    this.problem.hidden = false;
  }

  /** @param {Event} event */
  async submit(event) {
    event.preventDefault();
    const { selection } = this;
    if (!selection || this.button.disabled) return;
    this.button.disabled = true;
    clear(this.button, "Stopping…");
    const reason = this.reason.value.trim();
    try {
      /** @type {StoppedMany} */
      const done = await post("/api/generations/cancel", { ...selection, ...(reason ? { reason } : {}) });
      this.tell(done);
    } catch (error) {
      clear(this.button, `Stop ${fmt.tokens(this.matched)}`);
      this.failed(error);
      this.check();
    }
  }

  /** @param {StoppedMany} done */
  tell(done) {
    const words = [`Stopped ${things(done.count)}.`];
    if (done.unconfirmed.length) words.push(`Of ${fmt.tokens(done.unconfirmed.length)} the upstream is not closed yet; they stay in the table until it is.`);
    if (done.complete === false) words.push("Some replicas did not answer; what runs there was not stopped.");
    const leave = h("button", { type: "button", class: "button primary", on: { click: this.close } }, "Done");
    clear(this.content, h("p", { class: "count" }, words.join(" ")), h("div", { class: "row end" }, leave));
    leave.focus();
    this.ctx.announce(words.join(" "));
  }
}

/** @param {number} n */
function things(n) {
  return n === 1 ? "1 generation" : `${fmt.tokens(n)} generations`;
}
