/** Talking to the proxy's admin API, on the page's own origin only. */

import { told } from "./sse.js";

/**
 * @typedef {{
 *   onPage?: (page: PageEvent) => void, onChange?: (change: ChangeEvent) => void,
 *   onSummary?: (summary: Summary) => void, onState?: (state: "open" | "lost" | "refused", error?: ApiError) => void,
 * }} FeedHandlers
 */

const ROOT = new URL("..", import.meta.url);
const PATIENCE = 30_000;
/** Milliseconds without a byte, after which a feed counts as dead: the proxy sends a heartbeat each 10 s. */
const SILENCE = 25_000;
const [FIRST_PAUSE, LAST_PAUSE] = [300, 5_000];
const TOO_MANY = 429;

/** Tells `lost` (log in again) and `connection`, whose detail is `lost` where the proxy is not reached. */
export const session = new EventTarget();

/** An answer that is no success; `status` is 0 when there was none. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   * @param {number} [retryAfter] Seconds.
   */
  constructor(status, code, message, retryAfter) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** @param {string} path @param {Record<string, string> | URLSearchParams} [params] */
export function address(path, params) {
  const url = new URL(path.replace(/^\//, ""), ROOT);
  if (params) url.search = new URLSearchParams(params).toString();
  return url;
}

/**
 * Read something. Raises `ApiError`.
 * @param {string} path
 * @param {Record<string, string> | URLSearchParams} [params]
 * @returns {Promise<any>}
 */
export async function get(path, params) {
  return answered(await asked(address(path, params), { signal: AbortSignal.timeout(PATIENCE) }));
}

/**
 * Change something. Raises `ApiError`.
 * @param {string} path
 * @param {unknown} [body] Sent as JSON.
 * @returns {Promise<any>}
 */
export async function post(path, body = {}) {
  const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal: AbortSignal.timeout(PATIENCE) };
  return answered(await asked(address(path), init));
}

/**
 * The answer as it comes, whatever its status. Raises `ApiError` only when there is none.
 * @param {string} path
 * @param {{method?: string, headers?: Record<string, string>, body?: string, signal?: AbortSignal}} [init]
 */
export function stream(path, init = {}) {
  return asked(address(path), init);
}

/**
 * The header is what a page of another origin can't send: it tells the proxy that this page asks, not a stranger's.
 * @param {URL} url
 * @param {RequestInit & {headers?: Record<string, string>}} init
 */
async function asked(url, init) {
  try {
    const headers = { "X-Quell-Page": "1", ...init.headers };
    return await fetch(url, { cache: "no-store", redirect: "error", ...init, headers });
  } catch (error) {
    if (init.signal?.aborted && init.signal.reason?.name !== "TimeoutError") throw error;
    throw new ApiError(0, "unreachable", "The proxy can't be reached now.");
  }
}

/** @param {Response} response */
async function answered(response) {
  if (!response.ok) throw await errorOf(response);
  return response.headers.get("Content-Type")?.startsWith("application/json") ? response.json() : null;
}

/**
 * The error that an answer tells; a session that is over is told to whoever listens.
 * @param {Response} response
 */
export async function errorOf(response) {
  const body = await response.json().catch(() => null);
  const told = body?.error ?? {};
  const wait = Number(response.headers.get("Retry-After")) || undefined;
  const message = told.message ?? `The proxy answered ${response.status} without a reason.`;
  if (response.status === 401) session.dispatchEvent(new Event("lost"));
  return new ApiError(response.status, told.code ?? "unknown", message, wait);
}

/**
 * Follow what lives. Where the connection is lost, or too many follow, it is tried again by itself; another refusal
 * is told and ends it. Gives what ends it.
 * @param {Record<string, string> | URLSearchParams} params
 * @param {FeedHandlers} handlers
 */
export function feed(params, handlers) {
  const leave = new AbortController();
  follow(address("/api/feed", params), handlers, leave.signal);
  return () => leave.abort();
}

/**
 * @param {URL} url
 * @param {FeedHandlers} handlers
 * @param {AbortSignal} left
 */
async function follow(url, handlers, left) {
  let pause = FIRST_PAUSE;
  while (!left.aborted) {
    const once = new AbortController();
    const leave = () => once.abort();
    left.addEventListener("abort", leave);
    let silence = 0;
    const heard = () => {
      clearTimeout(silence);
      silence = window.setTimeout(leave, SILENCE);
    };
    heard();
    /** @type {ApiError | undefined} */
    let refusal;
    try {
      const response = await asked(url, { headers: { Accept: "text/event-stream" }, signal: once.signal });
      if (!response.ok) throw await errorOf(response);
      pause = FIRST_PAUSE;
      tell(handlers, "open");
      for await (const event of told(response, heard)) take(event, handlers);
    } catch (error) {
      if (!(error instanceof ApiError || once.signal.aborted || error instanceof TypeError)) throw error;
      if (error instanceof ApiError && error.status >= 400 && error.status < 500) refusal = error;
    } finally {
      clearTimeout(silence);
      left.removeEventListener("abort", leave);
      once.abort();
    }
    if (left.aborted) return;
    tell(handlers, refusal ? "refused" : "lost", refusal);
    if (refusal && refusal.status !== TOO_MANY) return;
    await new Promise((resume) => setTimeout(resume, Math.max(pause * (0.75 + Math.random() / 2), 1000 * (refusal?.retryAfter ?? 0))));
    pause = Math.min(pause * 2, LAST_PAUSE);
  }
}

/** @param {FeedHandlers} handlers @param {"open" | "lost" | "refused"} state @param {ApiError} [error] */
function tell(handlers, state, error) {
  handlers.onState?.(state, error);
  session.dispatchEvent(new CustomEvent("connection", { detail: state }));
}

/** @param {import("./tries.js").Told} event @param {FeedHandlers} handlers */
function take({ name, data }, handlers) {
  if (name === "page") handlers.onPage?.(data);
  else if (name === "change") handlers.onChange?.(data);
  else if (name === "summary") handlers.onSummary?.(data);
}
