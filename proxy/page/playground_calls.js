/** The playground's calls as they are: the commands, the answers to a stop, the raw events. */

import { curl, nativeStop } from "./dialects.js";
import { clear, copyButton, fmt, h, say } from "./dom.js";
import { whole } from "./sse.js";
import { code } from "./tables.js";

/** @import {Answered, Ids, Recipe, Served, Try} from "./tries.js" */

const MOST_PIECES = 400;

/** @param {Served} served */
export function makeCalls(served) {
  const [start, stop] = [command("Start"), command("Stop")];
  const note = h("p", { class: "muted" }, "The id is filled in as soon as it is known.");
  const answers = h("div", { class: "stack" });
  const raw = code("Raw events");
  const count = h("span", { class: "muted" });
  const node = h("div", { class: "by-hand" },
    h("section", { class: "card stack" }, h("h2", null, "The same by hand"), start.node, stop.node, note),
    h("section", { class: "card stack" }, h("h2", null, "The stop's answer"), answers),
    h("section", { class: "card stack wide" }, h("div", { class: "row" }, h("h2", null, "Raw events"), count), raw));
  let answered = -1;
  let frames = 0;
  /** @type {string[]} */
  let waiting = [];

  function empty() {
    [answered, frames, waiting] = [-1, 0, []];
    raw.textContent = count.textContent = "";
  }

  /** One more event. They are written once a picture of the screen. @param {string} text */
  function frame(text) {
    if (waiting.push(text) === 1) requestAnimationFrame(write);
  }

  function write() {
    if (!waiting.length) return;
    const follows = raw.scrollHeight - raw.scrollTop - raw.clientHeight < 40;
    raw.append(`${waiting.join("\n\n")}\n\n`);
    frames += waiting.length;
    waiting = [];
    while (raw.childNodes.length > MOST_PIECES) raw.firstChild?.remove();
    if (follows) raw.scrollTop = raw.scrollHeight;
    say(count, `${fmt.tokens(frames)} so far`);
  }

  /** @param {Recipe} recipe @param {ReturnType<typeof import("./playground_form.js").makeForm>} form @param {Try | null} it */
  function draw(recipe, form, it) {
    const { native, key } = it?.how ?? form.how();
    const wish = it?.wish ?? form.wish();
    const id = wish.chosen ?? "ID";
    const ids = it?.ids ?? {};
    const base = served.origin + form.base();
    const hasKey = Boolean(key) || served.needs_key;
    const call = recipe.start(wish, ids);
    const headers = { ...call.headers, ...(wish.chosen && { "X-Task-Id": wish.chosen }) };
    say(start.text, [
      recipe.first && curl(recipe.first(wish), base, hasKey),
      curl({ ...call, headers }, base, hasKey, !recipe.read),
      recipe.read && curl(recipe.read({ own: id, ...ids }), base, hasKey, true),
    ].filter(Boolean).join("\n\n"));
    const known = native ? nativeStop(ids) : recipe.stop(ids);
    /** @type {Ids} */
    const guess = { own: id, thread: "THREAD" };
    const shown = known ?? (native ? nativeStop(guess) : recipe.stop(guess));
    say(stop.text, shown ? curl(shown, base, hasKey) : "");
    note.hidden = Boolean(known);
    const all = it?.answers ?? [];
    if (all.length === answered) return;
    answered = all.length;
    clear(answers, all.length ? all.map(told) : h("p", { class: "muted" }, "Nothing was stopped yet."));
  }
  return { node, empty, frame, draw };
}

/** @param {string} name */
function command(name) {
  const text = code(`${name} command`);
  const copy = copyButton(() => text.textContent ?? "", `the command: ${name}`);
  return { text, node: h("div", null, h("div", { class: "row" }, h("h3", null, name), copy), text) };
}

/** @param {Answered} answered */
function told({ call, isStranger, status, ms, body }) {
  const { data } = whole(body);
  return h("div", null,
    h("p", null, h("span", { class: "tag" }, `HTTP ${status}`), isStranger && " to a stranger", ` in ${fmt.ms(ms)} `, h("code", null, `${call.method} ${call.path}`)),
    code(`Answer of ${call.path}`, data ? JSON.stringify(data, null, 2) : body));
}
