/** One try of the playground: a call that is started, read, and ended in the way that was chosen. */

import { get, stream } from "./api.js";
import { nativeStop } from "./dialects.js";
import { told } from "./sse.js";

/** @import {Call, How, Recipe, Tell, Try, Wish} from "./tries.js" */

export const STRANGER = "somebody-else";
const LOOK_MS = 150;
/** So often it is looked whether an ended call is in the books; a read-on or left one is awaited longer. */
const LOOKS = 40;
/** When Aitronos' stop is an edit, and when it keeps the partial answer. @type {Record<string, number>} */
const BY_ITSELF = { edit: 2000, keep: 6000 };

/** @param {number} ms */
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/**
 * @param {Recipe} recipe
 * @param {string} base The route's path.
 * @param {Wish} wish
 * @param {How} how
 * @param {Tell} tell
 */
export function begin(recipe, base, wish, how, tell) {
  const reading = new AbortController();
  let gone = false;
  /** @type {Try} */
  const it = {
    state: "starting", ids: {}, wish, how, pieces: 0, began: performance.now(), ended: null, status: null, refused: null,
    answers: [], seen: null, left: false, stopping: false, asked: { own: false, stranger: false },
    stopCall: () => how.native ? nativeStop(it.ids) : recipe.stop(it.ids),
    stop,
    close() {
      gone = true;
      reading.abort();
    },
  };

  /** @param {Call} call @param {{isStranger?: boolean, headers?: Record<string, string>, signal?: AbortSignal}} [more] */
  function send(call, { isStranger = false, headers = {}, signal } = {}) {
    const key = isStranger ? STRANGER : how.key;
    headers = { ...call.headers, ...headers };
    if (call.body) headers["Content-Type"] = "application/json";
    if (key) headers["X-Playground-Authorization"] = `Bearer ${key}`;
    const body = call.body && JSON.stringify(call.body);
    return stream(`/api/playground${base}${call.path}`, { method: call.method, headers, body, signal });
  }

  /** Make a call besides the start, and keep what it is answered. @param {Call} call @param {boolean} isStranger */
  async function ask(call, isStranger) {
    const asked = performance.now();
    const response = await send(call, { isStranger });
    const body = await response.text();
    it.answers.push({ call, isStranger, status: response.status, ms: performance.now() - asked, body });
    tell.changed();
  }

  /** Read a call's answer to its end; says whether it was granted. @param {Call} call @param {boolean} [isStart] */
  async function read(call, isStart) {
    const headers = isStart && wish.chosen ? { "X-Task-Id": wish.chosen } : undefined;
    const response = await send(call, { headers, signal: reading.signal });
    if (isStart || recipe.read) it.ids.task ??= response.headers.get("X-Task-Id") ?? undefined;
    it.status = response.status;
    if (response.ok) it.state = "running";
    for await (const one of told(response)) {
      if (!response.ok) it.refused = one.raw;
      recipe.learn(one, it.ids);
      tell.frame(one.raw);
      const piece = recipe.text(one);
      if (piece) {
        it.pieces += 1;
        tell.text(piece);
      }
      tell.changed();
    }
    return response.ok;
  }

  async function look() {
    const id = it.ids.task ?? wish.chosen ?? it.ids.own;
    if (id) it.seen = await get(`/api/playground-seen/${id}`).catch(() => it.seen);
    return it.seen;
  }

  async function stop() {
    if (how.ending === "leave" && !it.left) {
      it.left = true;
      reading.abort();
      return;
    }
    const call = it.stopCall();
    if (!call || it.stopping || it.state === "over") return;
    const isStranger = how.ending === "stranger" && !it.asked.stranger;
    it.stopping = true;
    tell.changed();
    try {
      await ask(call, isStranger);
      if (how.ending === "twice") await ask(call, isStranger);
      it.asked[isStranger ? "stranger" : "own"] = true;
    } finally {
      it.stopping = false;
      tell.changed();
    }
  }

  /** Stop as soon as Quell knows the call: the model is still silent then. */
  async function stopUnheard() {
    for (let looks = 0; looks < 2 * LOOKS && it.state !== "over" && !gone; looks += 1) {
      if (it.stopCall() && (await look())) return stop();
      await pause(LOOK_MS);
    }
  }

  /** The stream is over, or left: look on until the record says how it ended. */
  async function settle() {
    it.ended = performance.now();
    for (let looks = 0; !gone; looks += 1) {
      const seen = await look();
      const isTold = seen && seen.outcome !== "running" && (!seen.demo || seen.demo.closed || seen.outcome === "completed");
      if (isTold || (looks > LOOKS && !(it.left && seen?.outcome === "running")) || (it.refused && !seen)) break;
      tell.changed();
      await pause(LOOK_MS);
    }
    if (recipe.after && it.asked.own && !gone) await ask(recipe.after(it.ids), false);
  }

  async function run() {
    const isEarly = how.ending === "early";
    if (wish.chosen && !recipe.goesOn && !recipe.edits) it.ids.task = wish.chosen;
    try {
      if (isEarly && recipe.unnamed) await stop();
      else if (isEarly) void stopUnheard();
      const after = BY_ITSELF[how.ending];
      if (after) setTimeout(stop, after);
      if (recipe.first && !(await read(recipe.first(wish)))) return;
      if ((await read(recipe.start(wish, it.ids), true)) && recipe.read) await read(recipe.read(it.ids));
    } catch (error) {
      if (!it.left && !gone) it.refused = error instanceof Error ? error.message : String(error);
    } finally {
      await settle().catch(() => undefined);
      it.state = "over";
      if (!gone) tell.changed();
    }
  }
  void run();
  return it;
}
