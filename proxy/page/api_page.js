/** The API reference, made from the proxy's own OpenAPI document. */

import { get } from "./api.js";
import { curl } from "./dialects.js";
import { clear, copyButton, h, muted } from "./dom.js";
import { code, finder, table, wrong } from "./tables.js";

/** @import {Context, Screen} from "./shapes.js" */
/** @import {Spec} from "./health_types.js" */

export const title = "API";

const DEEPEST = 5;
const METHODS = ["get", "post", "put", "patch", "delete"];

/** @type {Screen["show"]} */
export function show(root, query, ctx) {
  let isLeft = false;
  get("/api/openapi.json").then((api) => isLeft || draw(root, api, query, ctx), (error) => isLeft || clear(root, wrong(error)));
  return () => void (isLeft = true);
}

/** @param {HTMLElement} root @param {Spec} api @param {URLSearchParams} query @param {Context} ctx */
function draw(root, api, query, ctx) {
  /** @type {[string, Spec][]} */
  const paths = Object.entries(api.paths);
  const calls = paths.flatMap(([path, item]) => [...Map.groupBy(METHODS.filter((method) => item[method]), (method) => item[method].summary ?? method)].map(([, methods]) => {
    const call = { parameters: [], ...item[methods[0] ?? ""] };
    const server = (call.servers ?? item.servers ?? api.servers)?.[0]?.url ?? location.origin;
    const node = operation(api, methods.map((method) => method.toUpperCase()), path, server, { ...call, parameters: [...(item.parameters ?? []), ...call.parameters] });
    return { node, tag: call.tags?.[0] ?? "Other", text: `${methods.join(" ")} ${path} ${call.summary ?? ""}`.toLowerCase() };
  }));
  const groups = [...Map.groupBy(calls, ({ tag }) => tag)].map(([name, of]) => ({ of, node: h("section", { class: "card" }, h("h2", null, name), of.map(({ node }) => node)) }));
  const { search, count, draw: find } = finder("Find a call", "cancel, usage, …", query, ctx, (text) => {
    for (const one of calls) one.node.hidden = !one.text.includes(text);
    for (const { of, node } of groups) node.hidden = of.every((one) => one.node.hidden);
    return `${calls.filter((one) => !one.node.hidden).length} of ${calls.length} calls`;
  });
  clear(root, h("h1", null, "API reference"),
    muted(`${api.info.title} ${api.info.version}, as this proxy is configured. The document itself: `, h("a", { href: "/api/openapi.json" }, "openapi.json"), "."),
    search, count, groups.map(({ node }) => node));
  find();
}

/** A call with what it takes and gives; laid out when it is opened. @param {Spec} api @param {string[]} methods The ones that mean the same. @param {string} path @param {string} server @param {Spec} call */
function operation(api, methods, path, server, call) {
  const parts = h("div", { class: "stack" });
  const node = h("details", { class: "call" }, h("summary", null, h("span", { class: "tag" }, methods.join(", ")), " ", h("code", null, path), " ", h("span", { class: "muted" }, call.summary)), parts);
  node.addEventListener("toggle", () => {
    const body = example(api, resolved(api, call.requestBody));
    const key = (call.security ?? api.security)?.length > 0 && `Authorization: Bearer $${path.startsWith("/api/") ? "QUELL_ADMIN_TOKEN" : "KEY"}`;
    const command = curl({ method: methods[0] ?? "", path, body: /** @type {object | undefined} */ (body) }, server, key);
    const parameters = call.parameters.map((/** @type {Spec} */ one) => resolved(api, one)).map((/** @type {Spec} */ one) => [
      h("code", null, one.name), `${one.in}${one.required ? ", required" : ""}`, typeOf(resolved(api, one.schema)), one.description,
    ]);
    const answers = Object.entries(call.responses ?? {}).map(([status, given]) => {
      const answer = resolved(api, given);
      const shown = example(api, answer);
      return [status, h("div", null, answer.description, shown !== undefined && code(`Example of ${status}`, written(shown)))];
    });
    clear(parts,
      call.description && h("p", null, call.description),
      h("div", { class: "row" }, h("h3", null, "Command"), copyButton(() => command, "the command")), code("Command", command),
      parameters.length > 0 && [h("h3", null, "Parameters"), table(["Name", "Where", "Type", "Meaning"], parameters)],
      body !== undefined && [h("h3", null, "Body"), code("Body", written(body))],
      h("h3", null, "Answers"), table(["Status", "What it says"], answers));
  }, { once: true });
  return node;
}

/** What a reference stands for. @param {Spec} api @param {Spec | undefined} given @returns {Spec} */
function resolved(api, given = {}) {
  return given.$ref ? given.$ref.slice(2).split("/").reduce((/** @type {Spec} */ at, /** @type {string} */ key) => at[key], api) : given;
}

/** The example of a body or an answer, or its shape where it has none; undefined: it has no body. @param {Spec} api @param {Spec} given @returns {unknown} */
function example(api, { content = {} }) {
  const [kind, media] = /** @type {[string, Spec]} */ (Object.entries(content)[0] ?? ["", {}]);
  const [named] = Object.values(media.examples ?? {});
  return media.example ?? resolved(api, named).value ?? (kind.includes("json") && media.schema ? shape(api, media.schema) : undefined);
}

/** A value such as a schema means. @param {Spec} api @param {Spec} schema @param {number} [depth] @returns {unknown} */
function shape(api, schema, depth = 0) {
  const { example: given, const: only, enum: words, oneOf, anyOf, allOf, properties, items, type, format } = resolved(api, schema);
  const [kind] = [type].flat();
  const [first] = oneOf ?? anyOf ?? allOf ?? [];
  if (given !== undefined || only !== undefined || words) return given ?? only ?? words[0];
  if (depth > DEEPEST) return null;
  if (properties) return Object.fromEntries(Object.entries(properties).map(([name, one]) => [name, shape(api, one, depth + 1)]));
  if (items) return [shape(api, items, depth + 1)];
  if (first) return shape(api, first, depth);
  return kind === "string" ? format ?? "…" : kind === "boolean" ? true : kind === "integer" || kind === "number" ? 0 : kind === "object" ? {} : null;
}

/** @param {Spec} schema */
const typeOf = ({ enum: words, type = "", default: usual }) => (words ? words.join(" | ") : [type].flat().join(" | ")) + (usual === undefined ? "" : `, ${usual} by default`);

/** @param {unknown} value */
const written = (value) => typeof value === "string" ? value : JSON.stringify(value, null, 2);
