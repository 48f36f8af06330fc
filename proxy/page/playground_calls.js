/** The playground's calls as they are: the commands, the answers to a stop, the raw events. */

import { curl, nativeStop } from "./dialects.js";
import { clear, copyButton, fmt, h, muted, say } from "./dom.js";
import { whole } from "./sse.js";
import { card, code, follow } from "./tables.js";
import { STRANGER } from "./try.js";

/** @import {Answered, Recipe, Served, Try} from "./tries.js" */

const MOST_PIECES = 400;

/** @param {Served} served */
export function makeCalls(served) {
  const [start, stop] = [command("Start"), command("Stop")];
  const note = muted();
  const answers = h("div", { class: "stack" });
  const raw = code("Raw events");
  const count = h("span", { class: "muted" });
  const node = h("div", { class: "by-hand" },
    card("The same by hand", start.node, stop.node, note),
    card("The stop's answer", answers),
    h("section", { class: "card stack wide" }, h("div", { class: "row" }, h("h2", null, "Raw events"), count), raw));
  let [answered, frames] = [-1, 0];
  /** @type {string[]} */
  let waiting = [];
  return { node, empty, frame, draw };

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
    follow(raw, () => raw.append(`${waiting.join("\n\n")}\n\n`));
    frames += waiting.length;
    waiting = [];
    while (raw.childNodes.length > MOST_PIECES) raw.firstChild?.remove();
  }

  /** @param {Recipe} recipe @param {ReturnType<typeof import("./playground_form.js").makeForm>} form @param {Try | null} it */
  function draw(recipe, form, it) {
    const { native, key, ending, stranger } = it?.how ?? form.how();
    const wish = it?.wish ?? form.wish();
    const id = wish.chosen ?? "ID";
    const ids = it?.ids ?? {};
    const as = (/** @type {import("./tries.js").Call} */ call, streams = false, whose = key || served.needs_key ? "$KEY" : "") =>
      curl(call, served.origin + form.base(), whose && `${recipe.apiKey ? `${recipe.apiKey}: ` : "Authorization: Bearer "}${whose}`, streams);
    const first = recipe.start(wish, ids);
    const headers = { ...first.headers, ...(wish.chosen && { "X-Task-Id": wish.chosen }) };
    say(start.text, [recipe.first && as(recipe.first(wish)), as({ ...first, headers }, !recipe.read), recipe.read && as(recipe.read({ own: id, ...ids }), true)].filter(Boolean).join("\n\n"));
    const stopOf = native ? nativeStop : recipe.stop;
    const known = stopOf(ids);
    const shown = known ?? stopOf({ own: id, thread: "THREAD" });
    const stops = shown ? as(shown, false, ending === "stranger" && !it?.asked.stranger ? stranger ? "$OTHER_KEY" : STRANGER : undefined) : "";
    const leaving = "# Press Ctrl-C where the start command runs.";
    say(stop.text, ending !== "leave" ? stops : recipe.goesOn ? `${leaving}\n# It goes on without a reader. This stops it:\n${stops}` : leaving);
    say(note, [!known && "The id is filled in as soon as it is known.", ending === "twice" && "Run the stop twice."].filter(Boolean).join(" "));
    note.hidden = !note.textContent;
    say(count, frames ? fmt.many(frames, "event") + (it?.state === "over" ? "" : " so far") : "");
    const all = it?.answers ?? [];
    if (all.length === answered) return;
    answered = all.length;
    clear(answers, all.length ? all.map(told) : muted("Nothing was stopped yet."));
  }
}

/** @param {string} name */
function command(name) {
  const text = code(`${name} command`);
  return { text, node: h("div", null, h("div", { class: "row" }, h("h3", null, name), copyButton(() => text.textContent ?? "", `the command: ${name}`)), text) };
}

/** @param {Answered} answered @param {number} at */
function told({ call, isStranger, status, ms, body }, at) {
  const { data } = whole(body);
  return h("div", null,
    h("p", null, h("span", { class: "tag" }, `HTTP ${status}`), isStranger && " to a stranger", ` in ${fmt.ms(ms)} `, h("code", null, `${call.method} ${call.path}`)),
    code(`Answer ${at + 1}`, data ? JSON.stringify(data, null, 2) : body));
}
