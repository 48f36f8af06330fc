/** One generation: what happened when, its ids, its use and cost, who stopped it and why, and what it says. */

import { ApiError, get } from "./api.js";
import { answerCard } from "./answer_text.js";
import { clear, copyButton, fmt, h, muted, say } from "./dom.js";
import { isForThePage } from "./keys.js";
import { timeline } from "./timeline.js";
import { stopButton, whyNot } from "./stop.js";
import { stopCommands } from "./stop_routes.js";
import { code, wrong } from "./tables.js";
import { about, savedTokens, shortId, stateTag, word } from "./words.js";

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

/** @type {PageScreen["show"]} */
export function show(root, _query, ctx, id) {
  let [hasLeft, ran, timer, origin] = [false, false, 0, ""];
  /** What was drawn last, so that what stays the same is left alone, with the focus in it. @type {Map<HTMLElement, string | null>} */
  const drawn = new Map();
  /** @type {ReturnType<typeof stopButton> | null} */
  let stop = null;
  const answer = answerCard(id, ctx);
  const reason = h("input", { class: "reason", maxlength: "500", placeholder: "Reason (optional)", "aria-label": "Reason for the stop", autocomplete: "off" });
  const name = h("span", { class: "mono" }, shortId(id));
  const head = h("div", { class: "state-line row" });
  const when = card("wide");
  const named = card("ids");
  const facts = card();
  const used = card();
  const ended = card();
  const commands = card("wide");
  const pressed = h("div", { class: "row" });
  const grid = h("div", { class: "grid two", hidden: true }, when, facts, used, named, ended, answer.element, commands);
  const waiting = h("p", { class: "empty" }, "Loading…");
  clear(root,
    h("div", { class: "screen-head" },
      h("div", null, h("a", { href: "#/live", class: "back" }, "‹ Live"), h("h1", null, "Generation ", name), head),
      pressed),
    waiting, grid);
  document.addEventListener("keydown", key);
  void load();
  return () => {
    hasLeft = true;
    clearTimeout(timer);
    answer.leave();
    document.removeEventListener("keydown", key);
  };

  async function load() {
    try {
      const [one, playground] = await Promise.all([read(), ctx.me.can.playground ? get("/api/playground").catch(() => null) : null]);
      if (hasLeft) return;
      origin = playground?.origin ?? "http://HOST:PORT";
      draw(one);
      waiting.remove();
      grid.hidden = false;
    } catch (error) {
      if (!hasLeft) waiting.replaceWith(wrong(error));
      if (!(error instanceof ApiError)) throw error;
    }
  }

  /** @returns {Promise<Generation>} */
  function read() {
    return get(`/api/generations/${encodeURIComponent(id)}`, { text: "no" });
  }

  /** Look again while it runs. */
  async function again() {
    try {
      const one = document.hidden ? null : await read();
      if (hasLeft) return;
      if (one) draw(one);
      else later();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!hasLeft && error.status !== 401) later();
    }
  }

  function later() {
    clearTimeout(timer);
    timer = window.setTimeout(again, EACH);
  }

  /** @param {Generation} one */
  function draw(one) {
    const runs = one.outcome === "running";
    say(name, shortId(one.task_id));
    const state = !runs ? one.outcome : one.cause ? "reading_on" : one.phase ?? "running";
    part(head, [stateTag(state), one.unconfirmed && h("span", { class: "muted" }, "its replica says nothing now")]);
    part(when, timeline(one));
    part(facts, what(one));
    part(named, ids(one));
    part(used, use(one, runs));
    part(ended, stopped(one));
    ended.hidden = one.cause === null;
    part(commands, calls(one, origin));
    drawStop(one, runs);
    if (runs || ran) later(); // once more behind its end: the last numbers come a moment later
    ran = runs;
  }

  /** Fill a part, but leave it alone, and the focus in it, while it says the same. @param {HTMLElement} into @param {Child} content */
  function part(into, content) {
    const fresh = h("div", null, content);
    if (drawn.get(into) === fresh.textContent) return;
    drawn.set(into, fresh.textContent);
    into.replaceChildren(...fresh.childNodes);
  }

  /** @param {Generation} one @param {boolean} runs */
  function drawStop(one, runs) {
    if (!stop && runs) {
      stop = stopButton({ id: one.message_id, taskId: one.task_id, whose: one.user ? ` of ${one.user}` : "" }, ctx, {
        reason: () => reason.value.trim(),
        onDone: again,
      });
      stop.button.classList.remove("small");
      pressed.append(whyNot(ctx.me) ? h("span", { class: "muted" }, whyNot(ctx.me)) : reason, stop.button);
    }
    if (stop && !runs) {
      reason.remove();
      stop.ended(word(one.outcome));
    }
  }

  /** @param {KeyboardEvent} event */
  function key(event) {
    if (event.key !== "s" || !stop || !isForThePage(event)) return;
    event.preventDefault();
    stop.press();
  }
}

/** @param {Generation} one @param {string} origin */
function calls(one, origin) {
  return [
    h("h2", null, "Calls that stop it"),
    muted("All of them mean the same. A stop that is repeated gives the same answer."),
    h("ul", { class: "calls plain" }, stopCommands(one, origin, location.origin).map(({ name, note, command }) => h("li", { class: "stack" },
      h("div", { class: "row spread" }, h("h3", null, name), copyButton(() => command, `the call: ${name}`)),
      note && h("p", { class: "hint" }, note),
      code(name, command),
    ))),
  ];
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
function what(one) {
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
  for (const [at, id] of (one.aliases ?? []).entries()) named.push([at ? one.dialect === "assistants" ? "Run id" : "Response id" : "Thread id", id]);
  return [
    ...list("Its ids", named.map(([name, value]) => [name, value
      ? h("span", { class: "row" }, h("code", { class: "mono id" }, value), copyButton(() => value, name.toLowerCase()))
      : "not known yet"])),
    h("p", { class: "hint" }, "Each of them names it, in every call that stops it."),
  ];
}

/** @param {Generation} one @param {boolean} runs */
function use(one, runs) {
  const known = (/** @type {number | null} */ count) => count === null ? null : fmt.tokens(count);
  const soFar = (/** @type {string} */ told) => told === "–" || !runs ? told : `${told} so far`;
  return list("Use and cost", [
    ["Prompt", fmt.tokens(one.prompt_tokens)],
    ["Completion", soFar(about(one))],
    ["of it reasoning", known(one.reasoning_tokens)],
    ["Cached prompt", known(one.cached_tokens)],
    ["Counted by", `${SOURCES[one.usage_source] ?? one.usage_source}${one.encoding ? ` (${one.encoding})` : ""}${runs ? "; not final" : ""}`],
    ["At most asked for", known(one.max_tokens)],
    ["Characters", soFar(fmt.tokens(one.characters))],
    ["Cost", one.cost === null ? "not known" : soFar(fmt.cost(one.cost, one.currency))],
    ["Billed as", one.settlement === "produced" ? null : one.settlement],
    ["Not made thanks to the stop", one.cause && !runs ? `${savedTokens(one.saved_typical, one.saved_most)}${(one.saved_typical ?? one.saved_most) === null ? "" : " tokens"}` : null],
    ["Made behind the stop", one.late_tokens === null ? null : fmt.many(one.late_tokens)],
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
