/** How each API is started and stopped: the calls behind the playground's tabs, and the commands shown there. */

/** @import {Call, Ids, Recipe, Told, Wish} from "./tries.js" */

const USER = "playground";
const MOST_TOKENS = 2000;
const NOT_THEIRS = "404, as for an id that does not exist";
const USUAL = { twice: "the same answer again", stranger: NOT_THEIRS };

/** @param {Wish} wish */
const messages = (wish) => [{ role: "user", content: wish.prompt }];

/** @param {string} path @param {object} [body] @returns {Call} */
const post = (path, body) => ({ method: "POST", path, body });

/** An id as a segment of a path: it may be an upstream's, and must not lead elsewhere. @param {string | undefined} id */
export const part = (id = "") => encodeURIComponent(id);

/** What is harmless in a path, and stands in the names of the demo's models, as it is. @param {string} escaped */
const readable = (escaped) => escaped.replace(/%(40|3D|2C)/g, decodeURIComponent);

/** OpenAI's newer models know the limit by another name. @param {Wish} wish */
const limit = ({ model }) => ({ [/^(o\d|gpt-[5-9])/.test(model) ? "max_completion_tokens" : "max_tokens"]: MOST_TOKENS });

/** A stop, once there is an id. @param {string | undefined} id @param {(id: string) => string} path @param {object} [body] */
const by = (id, path, body) => id ? post(path(part(id)), body) : null;

/** Takes the id out of an answer that is named so there. @param {string} name @returns {Recipe["learn"]} */
const named = (name) => ({ data }, ids) => void (ids.own ??= data?.[name]);

/** A stop by Quell's id, or by the API's own. @param {string} path @returns {Recipe["stop"]} */
const cancels = (path) => ({ own, task = own }) => by(task, (id) => `/${path}/${id}/cancel`);

/** Quell's own stop, which every route has. */
export const nativeStop = cancels("generations");

/** @param {Told} told */
const blockText = (told) => told.data?.type === "content_block_delta" ? told.data.delta.text : "";

/** What the kinds of Dify's apps have in common. @param {string} tasks @param {string} runs @param {string} end */
const dify = (tasks, runs = tasks, end = "message_end") => ({
  dialect: "dify",
  about: `The stop names the task and its user, and is always answered with success. The stream ends with an ordinary ${end}.`,
  twice: "success again",
  stranger: "success too, as Dify does, but nothing is stopped",
  unnamed: true,
  start: (/** @type {Wish} */ wish) => post(`/${runs}`, { inputs: { ...wish.inputs, query: wish.prompt }, user: USER, response_mode: "streaming" }),
  learn: named("task_id"),
  text: (/** @type {Told} */ { name, data }) => name === "message" ? data.answer : name === "text_chunk" ? data.data.text : "",
  stop: (/** @type {Ids} */ { task, own = task }) => by(own, (id) => `/${tasks}/${id}/stop`, { user: USER }),
});

/** @type {Recipe[]} */
export const RECIPES = [
  {
    id: "chat",
    title: "OpenAI chat",
    dialect: "openai",
    about: "OpenAI has no stop for chat completions; Quell adds one. The stream ends with a last chunk and [DONE].",
    ...USUAL,
    start: (wish) => post("/chat/completions", { model: wish.model, stream: true, ...limit(wish), messages: messages(wish) }),
    learn: named("id"),
    text: ({ data }) => data?.choices?.[0]?.delta?.content,
    stop: cancels("chat/completions"),
  },
  {
    id: "responses",
    title: "Responses",
    dialect: "openai",
    about: "OpenAI cancels background responses only. Here every response can be stopped; its stream ends with response.cancelled.",
    ...USUAL,
    start: (wish) => post("/responses", { model: wish.model, stream: true, max_output_tokens: MOST_TOKENS, input: wish.prompt }),
    learn: ({ data }, ids) => void (ids.own ??= data?.response?.id),
    text: ({ name, data }) => name === "response.output_text.delta" ? data.delta : "",
    stop: ({ task, own = task }) => by(own, (id) => `/responses/${id}/cancel`),
  },
  {
    id: "completions",
    title: "Completions",
    dialect: "openai",
    about: "OpenAI's older call, stopped like a chat completion.",
    ...USUAL,
    start: (wish) => post("/completions", { model: wish.model, stream: true, max_tokens: MOST_TOKENS, prompt: wish.prompt }),
    learn: named("id"),
    text: ({ data }) => data?.choices?.[0]?.text,
    stop: cancels("completions"),
  },
  {
    id: "assistants",
    title: "Assistants runs",
    dialect: "assistants",
    about: "The run is answered as cancelling, and its stream goes on to thread.run.cancelled. A run does not need a reader.",
    twice: "400, a cancelled run can't be cancelled",
    stranger: NOT_THEIRS,
    goesOn: true,
    first: (wish) => post("/assistants", { model: wish.model, name: "Playground" }),
    start: (wish, ids) => post("/threads/runs", {
      assistant_id: ids.assistant ?? "ASSISTANT", model: wish.model, stream: true, max_completion_tokens: MOST_TOKENS, thread: { messages: messages(wish) },
    }),
    learn: ({ data }, ids) => {
      if (data?.object === "assistant") ids.assistant = data.id;
      if (data?.object === "thread.run") [ids.own, ids.thread] = [data.id, data.thread_id];
    },
    text: ({ name, data }) => name === "thread.message.delta" ? data.delta.content?.[0]?.text?.value : "",
    stop: ({ own, thread }) => by(own, (id) => `/threads/${part(thread)}/runs/${id}/cancel`),
  },
  {
    id: "dify",
    title: "Dify chat",
    ...dify("chat-messages"),
    start: (wish) => post("/chat-messages", {
      inputs: wish.inputs, query: wish.prompt, user: USER, response_mode: "streaming",
    }),
  },
  { id: "dify-completion", title: "Dify completion", ...dify("completion-messages") },
  { id: "dify-workflow", title: "Dify workflow", ...dify("workflows/tasks", "workflows/run", "workflow_finished") },
  {
    id: "async",
    title: "Async messages",
    dialect: "async_messages",
    about: "One call starts the message, another one reads it. The cancel returns when the upstream is closed, and ends every reader's stream well.",
    twice: "200 again",
    stranger: NOT_THEIRS,
    goesOn: true,
    start: (wish) => post(`/messages/async${wish.chosen ? `?message_id=${part(wish.chosen)}` : ""}`, {
      model: wish.model, max_tokens: MOST_TOKENS, messages: messages(wish),
    }),
    read: ({ own }) => ({ method: "GET", path: `/messages/async/${part(own)}/stream` }),
    learn: named("message_id"),
    text: blockText,
    stop: ({ own }) => by(own, (id) => `/messages/async/${id}/cancel`),
  },
  {
    id: "aitronos",
    title: "Aitronos",
    dialect: "aitronos",
    about: "Within 5 s a stop takes question and answer back (quick edit). Later it keeps the partial answer.",
    twice: "the same answer again, for a minute",
    stranger: "403, it is another caller's",
    edits: true,
    apiKey: "X-API-Key",
    start: (wish) => post("/model/response", { model: wish.model, stream: true, max_output_synapses: MOST_TOKENS, inputs: messages(wish) }),
    learn: named("thread_id"),
    text: ({ name, data }) => name === "response.content_delta" ? data.delta : "",
    stop: ({ own }) => by(own, (id) => `/model/response/${id}/cancel`),
    after: ({ own }) => ({ method: "GET", path: `/threads/${part(own)}/messages` }),
  },
  {
    id: "anthropic",
    title: "Anthropic",
    dialect: "anthropic",
    about: "Anthropic has no stop for a single message; Quell adds one. Open blocks are closed, then come message_delta and message_stop.",
    ...USUAL,
    apiKey: "X-API-Key",
    start: (wish) => ({
      headers: { "anthropic-version": "2023-06-01" },
      ...post("/messages", { model: wish.model, max_tokens: MOST_TOKENS, stream: true, messages: messages(wish) }),
    }),
    learn: ({ data }, ids) => void (ids.own ??= data?.message?.id),
    text: blockText,
    stop: cancels("messages"),
  },
  {
    id: "gemini",
    title: "Gemini",
    dialect: "gemini",
    about: "Gemini has no stop; Quell adds its own. The stream ends with an answer whose finishReason is STOP, and whose finishMessage says who stopped it.",
    ...USUAL,
    apiKey: "X-Goog-API-Key",
    start: (wish) => post(`/models/${readable(part(wish.model))}:streamGenerateContent?alt=sse`, { generationConfig: { maxOutputTokens: MOST_TOKENS }, contents: [{ role: "user", parts: [{ text: wish.prompt }] }] }),
    learn: named("responseId"),
    text: ({ data }) => data?.candidates?.[0]?.content?.parts?.[0]?.text,
    stop: nativeStop,
  },
];

/** A text as one word of a shell. @param {string} text */
export const quoted = (text) => /^[\w:/.%-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

/**
 * A call as a command. A credential never stands in it: `key` is the header that has it, with a variable.
 * @param {Call} call @param {string} base The route's address. @param {string | false} key @param {boolean} [streams]
 */
export function curl({ method, path, headers = {}, body }, base, key, streams) {
  const all = Object.entries(body ? { ...headers, "Content-Type": "application/json" } : headers);
  return [
    `curl ${streams ? "-N " : ""}${method === (body ? "POST" : "GET") ? "" : `-X ${method} `}${quoted(base + path)}`,
    key && `-H "${key}"`,
    ...all.map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`),
    body && `-d ${quoted(JSON.stringify(body))}`,
  ].filter(Boolean).join(" \\\n  ");
}
