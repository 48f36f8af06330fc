/** One try of the playground: a call that is started, read, and ended in the way that was chosen. */

import { get, stream } from "./api.js";
import { nativeStop } from "./dialects.js";
import { told } from "./sse.js";
import { why } from "./tables.js";

/** @import {Begin, Call, Try} from "./tries.js" */

export const STRANGER = "somebody-else";
const LOOK_MS = 150;
/** So often it is looked whether an ended call is in the books. */
const LOOKS = 40;
/** When Aitronos' stop is an edit, and when it keeps the partial answer. @type {Record<string, number>} */
const BY_ITSELF = { edit: 2000, keep: 6000 };

const pause = () => new Promise((done) => setTimeout(done, LOOK_MS));

/** @type {Begin} */
export function begin(recipe, base, wish, how, tell) {
  const reading = new AbortController();
  let gone = false;
  /** @type {Try} */
  const it = {
    state: "starting", ids: {}, wish, how, pieces: 0, began: performance.now(), ended: null, status: null, refused: null,
    answers: [], seen: null, left: false, stopping: false, asked: { own: false, stranger: false }, stop,
    stopCall: () => how.native ? nativeStop(it.ids) : recipe.stop(it.ids),
    close() {
      gone = true;
      reading.abort();
    },
  };
  void run();
  return it;

  /** @param {Call} call @param {string} [key] @param {string | null} [chosen] @param {AbortSignal} [signal] */
  function send({ method, path, headers, body }, key = how.key, chosen = null, signal = undefined) {
    return stream(`/api/playground${base}${path}`, {
      method, signal, body: body && JSON.stringify(body),
      headers: { ...headers, ...(body && { "Content-Type": "application/json" }), ...(chosen && { "X-Task-Id": chosen }), ...(key && (recipe.apiKey ? { [recipe.apiKey.replace("X-", "X-Playground-")]: key } : { "X-Playground-Authorization": `Bearer ${key}` })) },
    });
  }

  /** Make a call besides the start, and keep what it is answered. @param {Call} call @param {boolean} isStranger */
  async function ask(call, isStranger) {
    const asked = performance.now();
    const response = await send(call, isStranger ? how.stranger || STRANGER : how.key);
    it.answers.push({ call, isStranger, status: response.status, body: await response.text(), ms: performance.now() - asked });
    tell.changed();
  }

  /** Read a call's answer to its end; says whether it was granted. @param {Call} call @param {string | null} [chosen] */
  async function read(call, chosen) {
    const response = await send(call, how.key, chosen, reading.signal);
    it.ids.task ??= response.headers.get("X-Task-Id") ?? undefined;
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
    if (id) it.seen = await get(`/api/playground-seen/${encodeURIComponent(id)}`).catch(() => it.seen);
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
    } catch (error) {
      it.refused = why(error);
    } finally {
      it.stopping = false;
      tell.changed();
    }
  }

  /** Stop as soon as Quell knows the call: the model is still silent then. */
  async function stopUnheard() {
    for (let looks = 0; looks < 2 * LOOKS && it.state !== "over" && !gone; looks += 1) {
      if (it.stopCall() && (await look())) return stop();
      await pause();
    }
  }

  /** The stream is over, or left: look on until the record says how it ended. */
  async function settle() {
    it.ended = performance.now();
    for (let looks = 0; !gone; looks += 1) {
      const seen = await look();
      const isRunning = seen?.outcome === "running";
      const isTold = seen && !isRunning && (!seen.demo || seen.demo.closed || seen.outcome === "completed");
      if (!it.stopping && (isTold || (it.refused && !seen) || (looks > LOOKS && !(it.left && isRunning)))) break;
      tell.changed();
      await pause();
    }
    if (recipe.after && it.asked.own && !gone) await ask(recipe.after(it.ids), false);
  }

  async function run() {
    const after = BY_ITSELF[how.ending];
    if (after) setTimeout(stop, after);
    if (wish.chosen && !recipe.goesOn && !recipe.edits) it.ids.task = wish.chosen;
    try {
      if (how.ending === "early" && recipe.unnamed) await stop();
      else if (how.ending === "early") void stopUnheard();
      if (recipe.first && !(await read(recipe.first(wish)))) return;
      if ((await read(recipe.start(wish, it.ids), wish.chosen)) && recipe.read) await read(recipe.read(it.ids));
    } catch (error) {
      if (!it.left && !gone) it.refused = why(error);
    } finally {
      await settle().catch(() => undefined);
      it.state = "over";
      if (!gone) tell.changed();
    }
  }
}
