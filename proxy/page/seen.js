/** "What the upstream saw": the story of a try in one sentence, and a strip from the client to the upstream. */

import { fmt, h, s } from "./dom.js";

/** @import {Story, Try} from "./tries.js" */

/** @typedef {Omit<Story, "made" | "of">} Told */

/** @param {number | null} n */
const tokens = (n) => `${fmt.tokens(n)} ${n === 1 ? "token" : "tokens"}`;

/** What is to be told of a try; null: there was none yet. @param {Try | null} it @returns {Story} */
export function story(it) {
  if (!it) {
    return {
      headline: "Press Start. While the answer comes, press Stop.",
      detail: "A stop that only hides the answer saves nothing. Here stands what the other end saw of yours.",
      client: ["no call", "idle"], upstream: ["no call", "idle"], made: null, of: null,
    };
  }
  const { seen } = it;
  const made = seen?.demo?.tokens_sent ?? seen?.completion_tokens ?? it.pieces;
  const isOver = it.state === "over";
  return { ...(isOver ? ended(it) : running(it)), made: isOver ? made : it.pieces, of: seen?.demo?.of ?? null };
}

/** @param {Try} it @returns {Told} */
function running(it) {
  /** @type {Told} */
  const open = {
    headline: `The upstream is writing: ${tokens(it.pieces)} so far.`,
    detail: it.stopCall() ? "Stop closes its connection, whoever reads." : "The id is not known yet.",
    client: ["stream open", "open"], upstream: ["call open", "open"],
  };
  if (it.stopping) return { ...open, headline: "Stopping …" };
  if (it.left) {
    return {
      ...open, headline: "You left, and the upstream still writes.", client: ["closed by you", "closed"],
      detail: "This API goes on without a reader. A stop ends it: press Stop.",
    };
  }
  if (it.ended) return { ...open, headline: "The stream has ended.", client: ["stream ended", "closed"] };
  if (it.asked.stranger) return { ...open, detail: "Somebody else's stop changed nothing. Press Stop again: that one is yours." };
  return it.pieces ? open : { ...open, headline: "The upstream is silent so far." };
}

/** @param {Try} it @returns {Told} */
function ended({ seen, status, refused, left, asked }) {
  /** @type {Told} */
  const over = {
    headline: "The call was refused, and never reached the upstream.", detail: refused ? "The answer says why." : "",
    client: [left ? "closed by you" : status && status >= 400 ? `answered ${status}` : "stream ended", "closed"],
    upstream: ["never called", "idle"],
  };
  if (!seen) return over;
  const { demo, completion_tokens: counted, upstream_closed_ms: ms, outcome, phase } = seen;
  const made = demo ? `${fmt.tokens(demo.tokens_sent)} of ${tokens(demo.of)}` : counted === null ? "" : tokens(counted);
  const inLedger = counted === null ? "" : ` In the ledger: ${tokens(counted)}.`;
  const isStopped = outcome === "cancelled" || outcome === "client_gone";
  if (isStopped && !demo && (ms === null || phase === "queued" || phase === "connecting")) {
    return { ...over, headline: "The upstream was never called: the stop was there first.", detail: "Nothing was made, and nothing is billed." };
  }
  if (isStopped) {
    const when = ms === null ? "" : `, ${ms < 1 ? "less than 1 ms" : fmt.ms(Math.round(ms)).replace(".0", "")} after ${left && !asked.own ? "you left" : "your stop"}`;
    const rest = demo ? `${tokens(demo.of - demo.tokens_sent)} never made.` : "Its connection is closed, not only hidden.";
    return { ...over, headline: `Upstream closed${made && (counted === 0 && !demo?.tokens_sent ? " before its first token" : ` after ${made}`)}${when}.`, detail: rest + inLedger, upstream: ["closed", "closed"] };
  }
  if (outcome === "running") return { ...over, headline: "The upstream is read on for its usage.", detail: "So its settings say.", upstream: ["call open", "open"] };
  if (outcome === "completed") {
    const why = asked.own ? "The stop came too late." : "Nobody stopped it. Start again, and press Stop in the middle.";
    return { ...over, headline: `The answer is complete${made && `: ${made}`}.`, detail: why + inLedger, upstream: ["call done", "closed"] };
  }
  return { ...over, headline: `It ended as ${outcome.replace("_", " ")}.`, upstream: ["call ended", "closed"] };
}

/** The strip and the sentence; behind an end, how much was made as a bar. @param {Story} of @param {boolean} isDemo @param {boolean} isOver */
export function telling(of, isDemo, isOver) {
  const line = ([words, look] = of.client) => h("li", { class: `line ${look}` }, h("span", null, words));
  const end = (/** @type {string} */ name) => h("li", { class: "end" }, name);
  return [
    h("h2", null, "What the upstream saw"),
    h("ol", { class: "strip" }, end("You"), line(), end("Quell"), line(of.upstream), end(isDemo ? "Demo upstream" : "Upstream")),
    h("p", { class: "headline" }, of.headline),
    isOver && of.made !== null && of.of !== null && s("svg", { viewBox: "0 0 100 3", preserveAspectRatio: "none", class: "meter", "aria-hidden": "true" },
      s("rect", { class: "rest", width: 100, height: 3 }), s("rect", { class: "made", width: (100 * of.made) / of.of, height: 3 })),
    h("p", { class: "muted" }, of.detail),
  ];
}
