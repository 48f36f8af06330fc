/** "What the upstream saw": the story of a try in one sentence, and a strip from the client to the upstream. */

import { fmt, h, muted, s } from "./dom.js";

/** @import {Line, Story, Try} from "./tries.js" */

const tokens = fmt.many;

/** @type {Story} */
const NOTHING = {
  headline: "Press Start. While the answer comes, press Stop.",
  detail: "A stop that only hides the answer saves nothing. Here stands what the other end saw of yours.",
  client: ["no call", "idle"], upstream: ["no call", "idle"], made: null, of: null,
};

/** What is to be told of a try; null: there was none yet. @param {Try | null} it @returns {Story} */
export function story(it) {
  if (!it) return NOTHING;
  const { seen, pieces } = it;
  const demo = seen?.demo;
  return it.state === "over" ? { ...ended(it), made: demo?.tokens_sent ?? seen?.completion_tokens ?? pieces, of: demo?.of ?? null } : running(it);
}

/** @param {Try} it @returns {Story} */
function running({ pieces, stopping, left, ended: isEnded, asked, how, stopCall }) {
  /** @type {Story} */
  const open = {
    headline: pieces ? `The upstream is writing: ${tokens(pieces)} so far.` : "The upstream is silent so far.",
    detail: asked.stranger ? "Somebody else's stop changed nothing. Press Stop again: that one is yours."
      : how.ending === "leave" ? "Close leaves it, as a reader does who goes away."
      : stopCall() ? "Stop closes its connection, whoever reads." : "The id is not known yet.",
    client: ["stream open", "open"], upstream: ["call open", "open"], made: pieces, of: null,
  };
  if (stopping) return { ...open, headline: "Stopping …" };
  if (left) return { ...open, headline: "You left, and the upstream still writes.", detail: "This API goes on without a reader. Press Stop to end it.", client: ["closed by you", "closed"] };
  return isEnded ? { ...open, headline: "The stream has ended.", client: ["stream ended", "closed"] } : open;
}

/** @param {Try} it @returns {Story} */
function ended({ seen, status, left, asked }) {
  /** @param {string} headline @param {string} detail @param {Line} upstream @returns {Story} */
  const over = (headline, detail, upstream = ["never called", "idle"]) => ({
    headline, detail, upstream, made: null, of: null,
    client: [left ? "closed by you" : status && status >= 400 ? `answered ${status}` : "stream ended", "closed"],
  });
  if (!seen) return over("The call was refused, and never reached the upstream.", "The answer says why.");
  const { demo, completion_tokens: counted, upstream_closed_ms: ms, outcome, phase } = seen;
  const made = demo ? `${fmt.tokens(demo.tokens_sent)} of ${tokens(demo.of)}` : counted === null ? "" : tokens(counted);
  const inLedger = counted === null ? "" : ` In the ledger: ${tokens(counted)}.`;
  if (outcome === "cancelled" || outcome === "client_gone") {
    if (!demo && (ms === null || phase === "queued" || phase === "connecting")) return over("The upstream was never called: the stop was there first.", "Nothing was made, and nothing is billed.");
    const when = ms === null ? "" : `, ${ms < 1 ? "less than 1 ms" : fmt.ms(Math.round(ms)).replace(".0", "")} after ${left && !asked.own ? "you left" : "your stop"}`;
    const rest = demo ? `${tokens(demo.of - demo.tokens_sent)} never made.` : "Its connection is closed, not only hidden.";
    return over(`Upstream closed${made && (counted === 0 && !demo?.tokens_sent ? " before its first token" : ` after ${made}`)}${when}.`, rest + inLedger, ["closed", "closed"]);
  }
  if (outcome === "running") return over("The upstream is read on for its usage.", "So its settings say.", ["call open", "open"]);
  if (outcome !== "completed") return over(`It ended as ${outcome.replace("_", " ")}.`, "", ["call ended", "closed"]);
  const why = asked.own ? "The stop came too late." : "Nobody stopped it. Start again, and press Stop in the middle.";
  return over(`The answer is complete${made && `: ${made}`}.`, why + inLedger, ["call done", "closed"]);
}

/** The strip and the sentence; behind an end, how much was made as a bar. @param {Story} of @param {boolean} isDemo */
export function telling({ headline, detail, client, upstream, made, of }, isDemo) {
  const line = (/** @type {Line} */ [words, look]) => h("li", { class: `line ${look}` }, h("span", null, words));
  const end = (/** @type {string} */ name) => h("li", { class: "end" }, name);
  return [
    h("h2", null, "What the upstream saw"),
    h("ol", { class: "strip" }, end("You"), line(client), end("Quell"), line(upstream), end(isDemo ? "Demo upstream" : "Upstream")),
    h("p", { class: "headline" }, headline),
    of && s("svg", { viewBox: `0 0 ${of} 1`, preserveAspectRatio: "none", class: "meter", "aria-hidden": "true" },
      s("rect", { class: "rest", width: of, height: 1 }), s("rect", { class: "made", width: made, height: 1 })),
    muted(detail),
  ];
}
