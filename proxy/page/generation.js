/** One generation: what happened when, its ids, its use and cost, who stopped it and why, and what it says. */

import { ApiError, get } from "./api.js";
import { answerCard } from "./answer_text.js";
import { clear, copyButton, fmt, h, say } from "./dom.js";
import { isForThePage } from "./keys.js";
import { timeline } from "./timeline.js";
import { stopButton, whyNot } from "./stop.js";
import { stopCommands } from "./stop_routes.js";
import { savedTokens, shortId, stateTag, word } from "./words.js";

export const title = "Generation";

const EACH = 1000;
/** @type {Record<string, string>} */
const SOURCES = {
  upstream: "the upstream's final count",
  upstream_running: "the upstream's last running count",
  tokenizer: "counted from the text with the model's tokenizer",
  estimate: "an estimate from the text",
  none: "not known",
};

/**
 * @param {HTMLElement} root
 * @param {URLSearchParams} _query
 * @param {Context} ctx
 * @param {string} id
 */
export function show(root, _query, ctx, id) {
  const screen = new One(root, ctx, id);
  screen.load();
  return () => screen.leave();
}

class One {
  /** @param {HTMLElement} root @param {Context} ctx @param {string} id */
  constructor(root, ctx, id) {
    this.root = root;
    this.ctx = ctx;
    this.id = id;
    this.hasLeft = false;
    this.timer = 0;
    this.origin = "";
    /** What was drawn last, so that what stays the same is left alone, with the focus in it. */
    this.drawn = new Map();
    this.answer = answerCard(id, ctx);
    this.reason = h("input", { class: "reason", maxlength: "500", placeholder: "Reason (optional)", "aria-label": "Reason for the stop", autocomplete: "off" });
    this.name = h("span", { class: "mono" }, shortId(id));
    this.head = h("div", { class: "state-line row" });
    this.when = card("wide");
    this.ids = card("ids");
    this.facts = card();
    this.usage = card();
    this.stopped = card();
    this.commands = card("wide");
    this.stopping = h("div", { class: "row" });
    /** @type {ReturnType<typeof stopButton> | null} */
    this.stop = null;
    this.onKey = (/** @type {KeyboardEvent} */ event) => this.key(event);
    document.addEventListener("keydown", this.onKey);
    root.append(
      h("div", { class: "screen-head" },
        h("div", null, h("a", { href: "#/live", class: "back" }, "‹ Live"), h("h1", null, "Generation ", this.name), this.head),
        this.stopping),
      h("p", { class: "empty" }, "Loading…"),
    );
  }

  leave() {
    this.hasLeft = true;
    clearTimeout(this.timer);
    this.answer.leave();
    document.removeEventListener("keydown", this.onKey);
  }

  async load() {
    try {
      const [one, about] = await Promise.all([this.read(), this.ctx.me.can.playground ? get("/api/playground").catch(() => null) : null]);
      if (this.hasLeft) return;
      this.origin = about?.origin ?? "http://HOST:PORT";
      this.root.querySelector(".empty")?.remove();
      this.root.append(h("div", { class: "grid two" }, this.when, this.facts, this.usage, this.ids, this.stopped, this.answer.element, this.commands));
      this.draw(one);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (this.hasLeft) return;
      const problem = this.root.querySelector(".empty");
      if (problem) problem.className = "error";
      if (problem) clear(problem, error.message);
    }
  }

  /** @returns {Promise<Generation>} */
  read() {
    return get(`/api/generations/${encodeURIComponent(this.id)}`, { text: "no" });
  }

  /** Look again while it runs. */
  async again() {
    try {
      const one = document.hidden ? null : await this.read();
      if (this.hasLeft) return;
      if (one) this.draw(one);
      else this.later();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!this.hasLeft && error.status !== 401) this.later();
    }
  }

  later() {
    this.timer = window.setTimeout(() => this.again(), EACH);
  }

  /** @param {Generation} one */
  draw(one) {
    const runs = one.outcome === "running";
    say(this.name, shortId(one.task_id));
    const state = !runs ? one.outcome : one.cause ? "reading_on" : one.phase ?? "running";
    this.part(this.head, [stateTag(state), one.unconfirmed ? h("span", { class: "muted" }, "its replica says nothing now") : null]);
    this.part(this.when, timeline(one));
    this.part(this.facts, facts(one));
    this.part(this.ids, ids(one));
    this.part(this.usage, use(one));
    this.part(this.stopped, stopped(one));
    this.stopped.hidden = one.cause === null;
    this.part(this.commands, this.calls(one));
    this.drawStop(one, runs);
    if (runs) this.later();
  }

  /** Fill a part, but leave it alone, and the focus in it, while it says the same. @param {HTMLElement} into @param {Child} content */
  part(into, content) {
    const fresh = h("div", null, content);
    if (this.drawn.get(into) === fresh.textContent) return;
    this.drawn.set(into, fresh.textContent);
    into.replaceChildren(...fresh.childNodes);
  }

  /** @param {Generation} one @param {boolean} runs */
  drawStop(one, runs) {
    if (!this.stop && runs) {
      this.stop = stopButton({ id: one.message_id, taskId: one.task_id, whose: one.user ? ` of ${one.user}` : "" }, this.ctx, {
        reason: () => this.reason.value.trim(),
        onDone: () => this.again(),
      });
      this.stop.button.classList.remove("small");
      this.stopping.append(whyNot(this.ctx.me) ? h("span", { class: "muted" }, whyNot(this.ctx.me)) : this.reason, this.stop.button);
    }
    if (this.stop && !runs) {
      this.reason.remove();
      this.stop.ended(word(one.outcome));
    }
  }

  /** @param {Generation} one */
  calls(one) {
    return [
      h("h2", null, "Calls that stop it"),
      h("p", { class: "muted" }, "All of them mean the same. A stop that is repeated gives the same answer."),
      h("ul", { class: "calls plain" }, stopCommands(one, this.origin, location.origin).map((call) => h("li", { class: "stack" },
        h("div", { class: "row spread" }, h("h3", null, call.name), copyButton(() => call.command, `the call: ${call.name}`)),
        call.note ? h("p", { class: "hint" }, call.note) : null,
        h("pre", { class: "mono", tabindex: "0", "aria-label": call.name }, call.command),
      ))),
    ];
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key !== "s" || !this.stop || !isForThePage(event)) return;
    event.preventDefault();
    this.stop.press();
  }
}

/** @param {string} [kind] */
function card(kind = "") {
  return h("section", { class: `card stack ${kind}` });
}

/** @param {string} heading @param {[name: string, value: Child][]} pairs */
function list(heading, pairs) {
  const told = pairs.filter(([, value]) => value !== null && value !== "" && !(Array.isArray(value) && !value.length));
  return [h("h2", null, heading), h("dl", { class: "pairs" }, told.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))))];
}

/** @param {string} name @param {string | null} value */
function filter(name, value) {
  return value ? h("a", { href: `#/live?${new URLSearchParams({ [name]: value })}`, title: `What runs now of this ${name}` }, value) : "–";
}

/** @param {Generation} one */
function facts(one) {
  return list("What it is", [
    ["Model", filter("model", one.model)],
    ["Answered by", one.upstream_model !== one.model ? one.upstream_model : null],
    ["Route", filter("route", one.route)],
    ["Dialect", one.dialect],
    ["Upstream", one.upstream],
    ["User", filter("user", one.user)],
    ["Key", filter("key", one.key_id)],
    ["Tags", Object.entries(one.tags).map(([name, value]) => h("span", { class: "tag" }, `${name}: ${value}`))],
    ["Replica", one.replica],
  ]);
}

/** @param {Generation} one */
function ids(one) {
  /** @type {[string, string | null][]} */
  const named = [["Task id", one.task_id], ["Message id", one.message_id], ["Upstream's id", one.upstream_id]];
  return [
    ...list("Its ids", named.map(([name, value]) => [name, value
      ? h("span", { class: "row" }, h("code", { class: "mono id" }, value), copyButton(() => value, name.toLowerCase()))
      : "not known yet"])),
    h("p", { class: "hint" }, "Each of them names it, in every call that stops it."),
  ];
}

/** @param {Generation} one */
function use(one) {
  return list("Use and cost", [
    ["Prompt", fmt.tokens(one.prompt_tokens)],
    ["Completion", fmt.tokens(one.completion_tokens)],
    ["of it reasoning", one.reasoning_tokens === null ? null : fmt.tokens(one.reasoning_tokens)],
    ["Cached prompt", one.cached_tokens === null ? null : fmt.tokens(one.cached_tokens)],
    ["Counted by", `${SOURCES[one.usage_source] ?? one.usage_source}${one.encoding ? ` (${one.encoding})` : ""}`],
    ["At most asked for", one.max_tokens === null ? null : fmt.tokens(one.max_tokens)],
    ["Characters", fmt.tokens(one.characters)],
    ["Cost", one.cost === null ? "not known" : fmt.cost(one.cost, one.currency)],
    ["Billed as", one.settlement === "produced" ? null : one.settlement],
    ["Not made thanks to the stop", one.cause ? `${savedTokens(one.saved_typical, one.saved_most)} tokens` : null],
    ["Made behind the stop", one.late_tokens === null ? null : `${fmt.tokens(one.late_tokens)} tokens`],
  ]);
}

/** @param {Generation} one */
function stopped(one) {
  return list("Its stop", [
    ["Cause", word(one.cause ?? "")],
    ["By", one.cancelled_by],
    ["Reason", one.reason ?? "none given"],
    ["Met it while", one.phase],
    ["Upstream closed after", one.upstream_closed_ms === null ? (one.outcome === "running" ? "it is read on for its usage" : "not known") : fmt.ms(one.upstream_closed_ms)],
  ]);
}
