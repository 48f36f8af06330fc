/** What the playground asks for: prompt, model, route, credential, and how the call is to end. */

import { stream } from "./api.js";
import { clear, field, h, muted } from "./dom.js";
import { whole } from "./sse.js";

/** @import {Ending, How, Recipe, Served, Wish} from "./tries.js" */

/** In front of the demo upstream an early stop has its time: the model is asked to be silent. */
const SILENCE = "first_token_after=5s";

/** @type {Record<Ending, [name: string, about: (recipe: Recipe, hasKeys: boolean, stranger: string) => string]>} */
const ENDINGS = {
  press: ["When I press Stop", () => "Press Stop while the answer comes."],
  early: ["Before the first byte", ({ unnamed }) => `The caller chooses the id, so that ${unnamed
    ? "the stop can be there first: it waits up to 10 s for its call, and the upstream is never called."
    : "a stop works while the model is still silent. It is sent by itself."}`],
  twice: ["Twice", ({ twice }) => `One press sends the stop two times. The second one is answered: ${twice}.`],
  stranger: ["As a stranger", ({ stranger: answer }, hasKeys, stranger) => `The first press stops with somebody else's credential. It is answered: ${hasKeys && !stranger ? "401, whatever it asks for" : answer}. The second press is yours.${hasKeys ? "" : " Mind that callers who send no credential are one caller: each may stop what another one started."}`],
  leave: ["By closing the connection", ({ goesOn }) => `No stop is sent, the reader just leaves. ${goesOn
    ? "This API goes on without one: a stop is what ends it." : "Quell sees that, and closes the upstream."}`],
  edit: ["After 2 s: quick edit", () => "Stopped by itself within the time of an edit: question and answer are taken back."],
  keep: ["After 6 s: keep partial", () => "Stopped by itself behind the time of an edit: the partial answer stays in the thread."],
};

/** @param {Served} served @param {URLSearchParams} query @param {() => void} changed */
export function makeForm(served, query, changed) {
  /** @type {Recipe} */
  let recipe;
  let routes = served.routes;
  let ending = /** @type {Ending} */ (query.get("try") ?? "press");
  /** An app's variables. @type {HTMLInputElement[]} */
  let variables = [];
  const on = { input: changed };
  const prompt = h("textarea", { rows: 4, name: "prompt", on }, "Tell me a long story.");
  const model = h("input", { name: "model", autocomplete: "off", spellcheck: "false", on });
  const key = h("input", { type: "password", name: "key", autocomplete: "off", on: { change: routed } });
  const route = h("select", { on: { change: routed } });
  const native = h("input", { type: "checkbox", on: { change: changed } });
  const fields = h("div", { class: "stack" });
  const radios = h("div", { class: "radios" });
  const about = muted();
  const stranger = h("input", { type: "password", autocomplete: "off", on: { input: () => ends(ending) } });
  const another = field("Key of the stranger", stranger, "Another one that the proxy knows. Left empty, one that it does not know is sent.");
  const endings = h("div", { class: "card stack", role: "radiogroup", "aria-labelledby": "endings" },
    h("h2", { id: "endings" }, "How it is stopped"), radios, about, another, h("label", { class: "check" }, native, "By Quell's own stop route, which every API has"));
  const base = () => (routes[route.selectedIndex]?.path ?? "").replace(/\/$/, "");

  /** Another API. @param {Recipe} next */
  function turn(next) {
    recipe = next;
    routes = served.routes.filter(({ dialects }) => dialects.includes(next.dialect));
    const known = /** @type {Ending[]} */ (Object.keys(ENDINGS)).filter((id) => next.edits || (id !== "edit" && id !== "keep"));
    if (!known.includes(ending)) ending = "press";
    clear(route, routes.map(({ path }) => h("option", null, path)));
    clear(radios, known.map((id) => h("label", { class: "check" },
      h("input", { type: "radio", name: "ending", checked: id === ending, on: { change: () => ends(id) } }), ENDINGS[id][0])));
    routed();
    ends(ending);
  }

  /** @param {Ending} id */
  function ends(id) {
    ending = id;
    about.textContent = ENDINGS[id][1](recipe, served.has_keys, stranger.value.trim());
    another.hidden = id !== "stranger" || !served.has_keys;
    changed();
  }

  /** Another route: its model, and its app's variables. */
  function routed() {
    model.value = routes[route.selectedIndex]?.model ?? model.value;
    variables = [];
    lay();
    if (recipe.dialect === "dify") void readVariables();
  }

  function lay() {
    clear(fields, field("Prompt", prompt), !recipe.unnamed && field("Model", model), variables.map((input) => field(input.name, input)),
      routes.length > 1 && field("Route", route),
      !served.demo && field("Key", key, `${served.needs_key ? "Needed" : "Optional"}: it says whose the call is. Sent with each call, kept nowhere.`));
    changed();
  }

  /** Dify tells the variables of its app. */
  async function readVariables() {
    const asked = base();
    const answer = await stream(`/api/playground${asked}/parameters`, { headers: { "X-Playground-Authorization": `Bearer ${key.value || "nobody"}` } });
    /** @type {{variable: string}[]} */
    const found = (whole(await answer.text()).data?.user_input_form ?? []).flatMap(Object.values);
    if (recipe.dialect !== "dify" || asked !== base()) return;
    variables = found.filter(({ variable }) => variable !== "query").map(({ variable }) => h("input", { name: variable, value: variable === "language" ? "English" : "example", on }));
    lay();
  }

  /** @returns {Wish} */
  function wish() {
    const isEarly = ending === "early";
    const named = model.value.trim();
    return {
      prompt: prompt.value,
      model: isEarly && served.demo ? `${named}${named.includes("@") ? "," : "@"}${SILENCE}` : named,
      chosen: isEarly ? `try-${Date.now().toString(36)}` : null,
      inputs: Object.fromEntries(variables.map(({ name, value }) => [name, value])),
    };
  }

  /** What must be filled in first, with the focus on it; undefined: nothing. */
  function missing() {
    const needed = [prompt, ...(recipe.unnamed ? [] : [model]), ...(served.needs_key ? [key] : []), ...variables];
    const empty = needed.find(({ value }) => !value.trim());
    for (const input of needed) input.setAttribute("aria-invalid", String(input === empty));
    empty?.focus();
    return empty && `Fill in the ${empty.name} first.`;
  }

  /** @returns {How} */
  const how = () => ({ ending, native: native.checked, key: key.value.trim(), stranger: stranger.value.trim() });
  return { fields, endings, turn, base, wish, missing, how, ending: () => ending };
}
