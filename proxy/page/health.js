/** Health: whether it is ready, its upstreams, bus, ledger and build, and the config with where each value came from. */

import { get, post } from "./api.js";
import { button, clear, fmt, h, muted } from "./dom.js";
import { card, finder, scroll, table, why, wrong } from "./tables.js";
import { signed } from "./words.js";

/** @import {Child} from "./dom.js" */
/** @import {Context, Screen} from "./shapes.js" */
/** @import {ConfigValue, Health, LoadedConfig, UpstreamState} from "./health_types.js" */

export const title = "Health";

const EACH_MS = 10_000;
/** What `bills_after_close` and `on_stop` mean for a stop, in words. @type {Record<string, string>} */
const WORDS = { no: "yes", yes: "no, it bills the whole answer", unknown: "unknown", close: "closes the connection", call: "closes it, then calls the abort route", drain: "reads on for the usage" };

/** Whether something is well, null: neither, with its words. @param {boolean | null} is @param {string} text */
const sign = (is, text) => is === null ? signed("calm", "ring", text) : is ? signed("good", "check", text) : signed("bad", "cross", text);

/** @type {Screen["show"]} */
export function show(root, query, ctx) {
  const now = h("div", { class: "stack" });
  const config = h("section", { class: "card stack" });
  const told = h("div", { role: "status" });
  const reload = button("Reload the config", "", reloaded);
  clear(root, h("div", { class: "row spread" }, h("h1", null, title), ctx.me.can.reload && reload), told, now, config);
  void look();
  void read();
  const timer = setInterval(() => document.hidden || now.contains(document.activeElement) || look(), EACH_MS);
  return () => clearInterval(timer);

  async function look() {
    try {
      const [health, upstreams] = await Promise.all([get("/api/health"), get("/api/upstreams")]);
      clear(now, cards(health, ctx), upstreamsOf(upstreams.data));
    } catch (error) {
      clear(now, wrong(error));
    }
  }

  async function read() {
    try {
      showConfig(config, await get("/api/config"), query, ctx);
    } catch (error) {
      clear(config, wrong(error));
    }
  }

  async function reloaded() {
    clear(told);
    try {
      const waits = (await post("/api/reload")).needs_restart.join(", ");
      clear(told, h("p", { class: "card" }, sign(true, waits ? `Taken, but these wait for a restart: ${waits}.` : "Taken: what is in the file is in force.")));
      await Promise.all([look(), read()]);
    } catch (error) {
      const [first, ...lines] = why(error).split("\n");
      clear(told, h("div", { class: "error" }, h("p", null, first), h("ul", { class: "mono" }, lines.map((line) => h("li", null, line)))));
    }
  }
}

/** @param {Health} health @param {Context} ctx */
function cards({ ready, bus, ledger, build, config }, { me }) {
  const plain = (/** @type {string} */ name, /** @type {Child[]} */ ...lines) => h("div", { class: "card" }, h("h2", null, name), lines.map((line) => line && h("p", null, line)));
  const waits = config.needs_restart.join(", ");
  return h("div", { class: "cards" },
    plain("Ready", ...Object.entries(ready).map(([name, is]) => sign(is, name === "not_draining" ? (is ? "not draining" : "draining: this replica ends") : `${name.replaceAll("_", " ")} ${is ? "passes" : "fails"}`))),
    plain("Ledger", sign(ledger.healthy, ledger.healthy ? "healthy" : "in trouble"), h("code", null, ledger.url), `${fmt.tokens(ledger.pending)} records wait to be written`, ledger.bytes != null && `${fmt.tokens(Math.ceil(ledger.bytes / 1024))} KiB on disk`),
    plain("Bus", bus.configured ? sign(bus.up, bus.up ? "connected" : "away") : sign(null, "none: a replica by itself"), `This replica is ${me.replica}`),
    plain("Config", sign(!waits, waits ? `waits for a restart: ${waits}` : "in force as it was loaded"), h("code", null, config.file ?? "no file"), `loaded ${fmt.time(config.loaded_at)}`),
    plain("Build", `Quell ${build.version}`, `Python ${build.python}`, `started ${fmt.time(me.started_at)}`));
}

/** @param {UpstreamState[]} all */
function upstreamsOf(all) {
  const rows = all.map((one) => [
    h("span", null, one.name, h("br"), h("code", { class: "muted" }, one.base_url)),
    sign(one.state === "unused" ? null : one.state === "ok", one.state),
    fmt.tokens(one.calls) + (one.slots ? ` of ${fmt.tokens(one.slots)}` : ""),
    fmt.tokens(one.waiting),
    fmt.tokens(one.reading_on),
    Object.entries(one.errors).map(([kind, count]) => `${kind}: ${count}`).join(", ") || "none",
    one.last_error ? `${one.last_error.kind}, ${fmt.time(one.last_error.at)}` : "none",
    fmt.time(one.last_success_at),
    WORDS[one.on_stop],
    WORDS[one.bills_after_close],
  ]);
  const heads = ["Upstream", "State", "Open calls", "Waiting", "Read on", "Errors in 5 min", "Last error", "Last success", "A stop", "Closing stops billing"];
  return card("Upstreams", muted("As the calls that went through found them; none is called for this."), scroll("div", "table-wrap", "Upstreams", table(heads, rows)));
}

/** Every value, and a search over them. @param {HTMLElement} box @param {LoadedConfig} config @param {URLSearchParams} query @param {Context} ctx */
function showConfig(box, { file, values }, query, ctx) {
  const found = scroll("div", "table-wrap", "Config");
  const { search, count, draw } = finder("Find", "base_url, timeout, …", query, ctx, (text) => {
    const rows = values.filter((one) => (all.checked || one.from !== "default") && `${one.key} ${JSON.stringify(one.value)}`.toLowerCase().includes(text));
    clear(found, table(["Key", "Value", "From"], rows.map((one) => [one.key, JSON.stringify(one.value), from(one)].map((cell) => h("code", null, cell)))));
    return `${rows.length} of ${values.length} values`;
  });
  const all = h("input", { type: "checkbox", checked: query.has("find") || !values.some((one) => one.from !== "default"), on: { change: draw } });
  const from = (/** @type {ConfigValue} */ one) => one.line ? `${file?.split("/").at(-1)}:${one.line}:${one.column ?? 1}` : one.from;
  clear(box, h("h2", null, "Config in force"), muted("Secrets are masked. It is changed in the file only."),
    h("div", { class: "row choose" }, search, h("label", { class: "check" }, all, "Show defaults too")), count, found);
  draw();
}
