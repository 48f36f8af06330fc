/**
 * What the admin API answers, as types; there is nothing to run in this file.
 *
 * @typedef {"queued" | "connecting" | "waiting" | "streaming" | "reading_on"} State
 * @typedef {{typical: number | null, most: number | null}} SavedTokens
 * @typedef {{typical: string | null, most: string | null}} SavedCost
 *
 * @typedef {{
 *   name: string, role: "viewer" | "operator" | "admin", text: boolean,
 *   can: {stop: boolean, reload: boolean, text: boolean, playground: boolean},
 *   replica: string, version: string, started_at: string, demo: boolean, replicas: boolean,
 * }} Me
 *
 * @typedef {{
 *   id: string, task_id: string, upstream_id: string | null, started_at: string, age_seconds: number, phase: string,
 *   state: State, dialect: string, route: string, upstream: string, model: string | null, key_id: string,
 *   user: string | null, tags: Record<string, string>, completion_tokens: number | null, characters: number | null,
 *   cost: string | null, currency: string | null, replica: string, first_token_at: string | null, cancel_asked: boolean,
 * }} Row One live generation.
 *
 * @typedef {{
 *   id: string, task_id: string, outcome: string, cause: string | null, elapsed_seconds: number | null,
 *   completion_tokens: number | null, upstream_closed_ms: number | null,
 * }} Gone One that ended.
 *
 * @typedef {{at: string, total: number, matched: number, rows: Row[], complete?: boolean}} PageEvent
 * @typedef {{
 *   at: string, total: number, matched: number, order?: string[], rows: Row[], gone: Gone[], complete?: boolean,
 * }} ChangeEvent
 *
 * @typedef {{
 *   live: number, reading_on: number, queued: number, orphans: number,
 *   today: {
 *     since: string, generations: number, stopped: number, stops_by_cause: Record<string, number>,
 *     completion_tokens: number, cost: Record<string, string>, saved_tokens: SavedTokens,
 *     saved_cost: Record<string, SavedCost> | null, late_tokens: number,
 *   },
 * }} Summary
 *
 * @typedef {{
 *   task_id: string, message_id: string, result: "stopped" | "stopping" | "already_finished", status: string,
 *   cause: string | null, phase: string | null, elapsed_seconds: number | null, upstream_closed_ms: number | null,
 *   partial: {characters: number | null, text?: string | null},
 *   usage: {prompt_tokens: number | null, completion_tokens: number | null, source: string},
 *   late_tokens: number | null, saved_tokens: SavedTokens,
 * }} Receipt What a stop did.
 *
 * @typedef {{
 *   dry_run: boolean, matched: string[], stopped: string[], count: number, unconfirmed: string[], complete: boolean,
 * }} StoppedMany
 *
 * @typedef {{
 *   task_id: string, message_id: string, upstream_id: string | null, dialect: string, route: string, upstream: string,
 *   model: string | null, upstream_model: string | null, key_id: string, user: string | null,
 *   tags: Record<string, string>, replica: string, started_at: string, first_token_at: string | null,
 *   ended_at: string | null, outcome: string, cause: string | null, cancelled_by: string | null, reason: string | null,
 *   prompt_tokens: number | null, completion_tokens: number | null, cached_tokens: number | null,
 *   reasoning_tokens: number | null, usage_source: string, cost: string | null, currency: string | null,
 *   characters: number | null, text?: string | null, text_hidden?: boolean, text_clipped: boolean,
 *   error_kind: string | null, phase: string | null, elapsed_seconds: number | null,
 *   upstream_closed_ms: number | null, settlement: string, price: Record<string, unknown> | null,
 *   encoding: string | null, max_tokens: number | null, late_tokens: number | null, saved_most: number | null,
 *   saved_typical: number | null, unconfirmed?: boolean,
 * }} Generation A record, as `GET /api/generations/ID` shows it.
 *
 * @typedef {{
 *   me: Me, api: typeof import("./api.js"), navigate: (hash: string) => void,
 *   setQuery: (params: URLSearchParams) => void, announce: (text: string) => void,
 * }} Context What a screen gets.
 *
 * @typedef {{
 *   title: string, show: (root: HTMLElement, query: URLSearchParams, ctx: Context, id: string) => () => void,
 * }} Screen
 */

export {};
