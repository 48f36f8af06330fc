/** What a model wrote, and the events that carried it: shown on demand, as text only, and never read out as it grows. */

import { ApiError, errorOf, get, stream } from "./api.js";
import { button, clear, copyButton, h, say } from "./dom.js";
import { told } from "./sse.js";

const MOST_EVENTS = 500;

/**
 * The card with both buttons.
 * @param {string} id
 * @param {Context} ctx
 */
export function answerCard(id, ctx) {
  const text = h("pre", { class: "answer", tabindex: "0", "aria-label": "The model's text", hidden: true });
  const raw = h("pre", { class: "raw mono", tabindex: "0", "aria-label": "Raw events", hidden: true });
  const note = h("p", { class: "muted", role: "status" });
  const because = ctx.me.can.text ? "" : "Your token may not see what models write. That is a right of its own (text: true).";
  let left = new AbortController();
  if (because) say(note, because);

  /** @param {(event: import("./tries.js").Told) => void} take @param {HTMLElement} into */
  async function open(take, into) {
    left.abort();
    const here = (left = new AbortController());
    text.hidden = into !== text;
    raw.hidden = into !== raw;
    into.textContent = "";
    into.setAttribute("aria-busy", "true");
    say(note, "It is shown as it comes. That you looked is in the log.");
    try {
      const response = await stream(`/api/generations/${encodeURIComponent(id)}/events`, { signal: here.signal });
      if (!response.ok) throw await errorOf(response);
      for await (const event of told(response)) take(event);
      if (!here.signal.aborted) say(note, "That was all of it.");
    } catch (error) {
      if (here.signal.aborted) return;
      if (error instanceof ApiError && error.status === 410 && into === text) await fromRecord();
      else if (error instanceof ApiError) say(note, error.message);
      else say(note, "The stream broke off. Press again to see it from the start.");
    } finally {
      into.setAttribute("aria-busy", "false");
    }
  }

  async function fromRecord() {
    /** @type {Generation} */
    const record = await get(`/api/generations/${encodeURIComponent(id)}`);
    text.textContent = record.text ?? "";
    const cut = record.text_clipped ? " It is cut." : "";
    say(note, record.text ? `As the record has it.${cut}` : "The record has no text: it was not kept, or is no longer.");
  }

  const showText = () => open(({ data }) => {
    const piece = written(data);
    if (piece) text.append(piece);
  }, text);

  const showRaw = () => open((event) => {
    raw.append(`${event.raw}\n\n`);
    while (raw.childNodes.length > MOST_EVENTS) raw.firstChild?.remove();
  }, raw);

  const may = { disabled: because !== "", title: because || null };
  const element = h("section", { class: "card stack wide" },
    h("div", { class: "row spread" },
      h("h2", null, "What it says"),
      h("div", { class: "row" }, button("Show text", "small", showText, may), button("Show raw events", "small", showRaw, may),
        because ? null : copyButton(() => (raw.hidden ? text : raw).textContent ?? "", "what is shown")),
    ),
    note, text, raw,
  );
  return {
    element,
    leave() {
      left.abort();
      clear(text);
      clear(raw);
    },
  };
}

/**
 * The piece of an answer that an event carries, whichever API it is of; empty when it carries none.
 * @param {any} said Its JSON.
 * @returns {string}
 */
function written(said) {
  const choice = said?.choices?.[0];
  const delta = said?.delta;
  const found = [
    choice?.delta?.content, choice?.text, choice?.message?.content,
    /(output_text\.delta|content_delta)$/.test(said?.type ?? said?.event ?? "") ? delta : undefined,
    said?.object === "thread.message.delta" ? delta?.content?.map((/** @type {any} */ part) => part?.text?.value ?? "").join("") : undefined,
    delta?.text, said?.answer,
    said?.candidates?.[0]?.content?.parts?.map((/** @type {any} */ part) => part?.text ?? "").join(""),
    said?.event === "text_chunk" ? said?.data?.text : undefined,
    said?.response,
  ];
  return found.find((piece) => typeof piece === "string") ?? "";
}
