/** The playground: start a call in any API that is served, stop it, and see what the upstream saw. */

import { get } from "./api.js";
import { RECIPES } from "./dialects.js";
import { clear, fmt, h, muted, s, say } from "./dom.js";
import { makeCalls } from "./playground_calls.js";
import { makeForm } from "./playground_form.js";
import { story, telling } from "./seen.js";
import { follow, keep, scroll, wrong } from "./tables.js";
import { begin } from "./try.js";

/** @import {Recipe, Served, Try} from "./tries.js" */
/** @import {Context, Screen} from "./shapes.js" */

export const title = "Playground";

/** What a call is answered that was stopped before its header went out. */
const STOPPED_EARLY = 499;

/** @type {Screen["show"]} */
export function show(root, query, ctx) {
  const leaving = new AbortController();
  if (!ctx.me.can.playground) {
    clear(root, h("h1", null, title), h("p", { class: "empty" }, "Your token may look. To start and stop calls here it needs the role operator."));
  } else {
    get("/api/playground").then((served) => leaving.signal.aborted || desk(root, query, ctx, served, leaving.signal), (error) => leaving.signal.aborted || clear(root, wrong(error)));
  }
  return () => leaving.abort();
}

/** @param {HTMLElement} root @param {URLSearchParams} query @param {Context} ctx @param {Served} served @param {AbortSignal} left */
function desk(root, query, ctx, served, left) {
  const recipes = RECIPES.filter(({ dialect }) => served.routes.some(({ dialects }) => dialects.includes(dialect)));
  const [first] = recipes;
  if (!first) {
    clear(root, h("h1", null, title), h("p", { class: "empty" }, "No route is configured that could be tried here."));
    return;
  }
  let recipe = first;
  /** @type {Try | null} */
  let it = null;
  let wasStory = "";
  let due = 0;
  const runs = () => it !== null && it.state !== "over";

  const words = document.createTextNode("");
  const answer = scroll("div", "words", "Text of the answer", words);
  const refused = scroll("pre", "error mono", "Why it was refused");
  const status = h("span", { class: "muted" });
  const button = h("button", { type: "button", class: "button go", on: { click: press } });
  const count = h("p", { class: "tokens" });
  const clock = h("p", { class: "clock muted" });
  const seen = h("section", { class: "card seen", "aria-label": "What the upstream saw" });
  const about = muted();
  const form = makeForm(served, query, chosen);
  const calls = makeCalls(served);
  const panel = h("div", { id: "try", class: "stack", role: "tabpanel" }, about,
    h("div", { class: "desk" },
      h("section", { class: "card stack", "aria-label": "Request" }, form.fields),
      h("div", { class: "middle" }, button, count, clock, h("p", { class: "muted keys-hint" }, h("kbd", null, "Ctrl Enter"), " starts, ", h("kbd", null, "Esc"), " stops")),
      h("section", { class: "card" }, h("div", { class: "row" }, h("h2", null, "Answer"), status), answer, refused)),
    seen, form.endings, calls.node);
  const tabs = recipes.map(({ id, title: name }) => h("button", { type: "button", role: "tab", class: "tab", id: `tab-${id}`, "aria-controls": "try", on: { click: () => turn(id) } }, name));
  clear(root, h("h1", null, title), h("div", { class: "tabs", role: "tablist", "aria-label": "API", on: { keydown: step } }, tabs), panel);
  document.addEventListener("keydown", key, { signal: left });
  left.addEventListener("abort", () => it?.close());
  turn(query.get("tab") ?? recipe.id);

  /** Arrow keys go from tab to tab. @param {KeyboardEvent} event */
  function step(event) {
    const at = tabs.findIndex((tab) => tab === event.target);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    const next = to === undefined ? undefined : tabs.at(to % tabs.length);
    if (!next) return;
    event.preventDefault();
    next.focus();
    next.click();
  }

  /** @param {KeyboardEvent} event */
  function key(event) {
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Escape" ? runs() : event.key === "Enter" && (event.ctrlKey || event.metaKey) && !runs()) {
      event.preventDefault();
      press();
    }
  }

  /** Another API. @param {string} id */
  function turn(id) {
    recipe = recipes.find((one) => one.id === id) ?? recipe;
    for (const tab of tabs) {
      const is = tab.id === `tab-${recipe.id}`;
      tab.setAttribute("aria-selected", String(is));
      tab.tabIndex = is ? 0 : -1;
      if (is) tab.scrollIntoView({ block: "nearest" });
    }
    panel.setAttribute("aria-labelledby", `tab-${recipe.id}`);
    about.textContent = recipe.about;
    keep(query, "tab", recipe.id);
    fresh();
    form.turn(recipe);
  }

  /** Something of the request was changed. */
  function chosen() {
    keep(query, "try", form.ending());
    ctx.setQuery(query);
    draw();
  }

  function fresh() {
    it?.close();
    it = null;
    words.data = "";
    calls.empty();
  }

  function press() {
    if (it && runs()) {
      void it.stop();
      draw();
      return;
    }
    const missing = form.missing();
    if (missing) {
      ctx.announce(missing);
      return;
    }
    fresh();
    it = begin(recipe, form.base(), form.wish(), form.how(), { changed: later, text: write, frame: calls.frame });
    ctx.announce("Started.");
    draw();
    tick();
  }

  /** Draw once a picture of the screen, however much comes. */
  function later() {
    due ||= requestAnimationFrame(draw);
  }

  /** @param {string} piece */
  function write(piece) {
    follow(answer, () => words.appendData(piece));
  }

  function tick() {
    say(clock, it ? `${(((it.ended ?? performance.now()) - it.began) / 1000).toFixed(1)} s` : "");
    if (runs()) setTimeout(tick, 100);
  }

  function draw() {
    due = 0;
    const of = story(it);
    const isOn = runs();
    say(count, it ? fmt.many(of.made) : "");
    say(status, it?.status ? `HTTP ${it.status}` : "");
    say(refused, it?.refused ?? "");
    refused.hidden = !it?.refused;
    refused.className = it?.status === STOPPED_EARLY ? "notice mono" : "error mono";
    answer.hidden = Boolean(it?.refused && !it.pieces);
    answer.setAttribute("aria-busy", String(isOn));
    const word = it?.stopping ? "Stopping …" : !isOn ? "Start" : it?.how.ending === "leave" && !it.left ? "Close" : "Stop";
    if (button.textContent !== word) {
      button.className = `button go ${isOn ? "danger" : "primary"}`;
      clear(button, s("svg", { viewBox: "0 0 16 16", class: "sign", "aria-hidden": "true" }, s("path", { d: isOn ? "M3 3h10v10H3z" : "M4 2l10 6l-10 6z" })), h("span", null, word));
    }
    calls.draw(recipe, form, it);
    const now = JSON.stringify([of.headline, of.detail, of.client, of.upstream]);
    if (now === wasStory) return;
    wasStory = now;
    clear(seen, telling(of, served.demo));
    if (it?.state === "over") ctx.announce(`${of.headline} ${of.detail}`);
  }
}
