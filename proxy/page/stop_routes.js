/** Every call that stops a generation, as one can paste it into a terminal. */

import { curl, part } from "./dialects.js";

/** @typedef {{name: string, path: string, body?: object, note?: string}} Route */

const RESPONSE = "resp_";

/**
 * What the ids of each of OpenAI's calls begin with tells which of them it was; while that is not known, all are named.
 * Gemini's calls have the same dialect, ids like none of these, and no stop but the native one.
 */
const OPENAI = [
  { name: "Chat completions", path: "chat/completions", prefix: "chatcmpl-" },
  { name: "Completions", path: "completions", prefix: "cmpl-" },
  { name: "Responses", path: "responses", prefix: RESPONSE },
];

/** @type {[name: string, path: string][]} */
const DIFY = [["Completion app", "completion-messages"], ["Chat app", "chat-messages"], ["Workflow", "workflows/tasks"]];

/** @param {Generation} one @param {string} prefix */
function fits(one, prefix) {
  const told = [one.upstream_id ?? "", one.message_id].find((given) => OPENAI.some((route) => given.startsWith(route.prefix)));
  return told === undefined ? one.format !== "gemini" : told.startsWith(prefix);
}

/** @param {string[] | null} aliases */
const whose = (aliases) => aliases ? "" : "The client has the ids that stand here as words.";

/** The stop routes of each dialect, below its route's path. @type {Record<string, (one: Generation) => Route[]>} */
const OWN = {
  openai: (one) => OPENAI.filter((route) => fits(one, route.prefix)).map(({ name, path }) => ({
    name, path: `/${path}/${part(one.message_id.startsWith(RESPONSE) ? one.message_id : one.upstream_id ?? one.task_id)}/cancel`,
  })),
  anthropic: (one) => [{ name: "Messages", path: `/messages/${part(one.upstream_id ?? one.task_id)}/cancel` }],
  assistants: ({ aliases }) => [{
    name: "Assistants run", path: `/threads/${part(aliases?.[0] ?? "THREAD_ID")}/runs/${part(aliases?.[1] ?? "RUN_ID")}/cancel`, note: whose(aliases),
  }],
  dify: (one) => DIFY.map(([name, path]) => ({ name, path: `/${path}/${part(one.task_id)}/stop`, body: { user: one.user ?? "" } })),
  async_messages: (one) => [{ name: "Async message", path: `/messages/async/${part(one.message_id)}/cancel` }],
  aitronos: ({ aliases }) => [{ name: "Model response", path: `/model/response/${part(aliases?.[0] ?? "THREAD_ID")}/cancel`, note: whose(aliases) }],
};

/**
 * The calls that stop this generation: its own caller's, then the operator's.
 * @param {Generation} one
 * @param {string} origin Where the proxy takes model calls.
 * @param {string} admin Where the admin API is.
 * @returns {{name: string, command: string, note: string}[]}
 */
export function stopCommands(one, origin, admin) {
  /** @type {Route} */
  const native = { name: "By its id, on every route", path: `/generations/${part(one.task_id)}/cancel` };
  const base = `${origin}${one.route.replace(/\/$/, "")}`;
  const callers = [native, ...(OWN[one.dialect]?.(one) ?? [])].map((route) => ({
    name: route.name,
    note: route.note ?? "",
    command: curl({ method: "POST", ...route }, base, one.key_id !== "anonymous" && "Authorization: Bearer $API_KEY"),
  }));
  const operator = {
    name: "As the operator, whoever started it",
    note: "With an admin token of the role operator.",
    command: curl({ method: "POST", path: `/api/generations/${part(one.message_id)}/cancel`, body: { reason: "…" } }, admin, "Authorization: Bearer $QUELL_ADMIN_TOKEN"),
  };
  return [...callers, operator];
}
