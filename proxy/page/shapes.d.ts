// What the admin API answers, as types for the checker; browsers never load this file.
// The ones at the end are known in every module without an import.

export type SavedTokens = { typical: number | null; most: number | null };
export type SavedCost = { typical: string | null; most: string | null };
export type Count = number | null;
export type Text = string | null;

export type Me = {
  name: string;
  role: "viewer" | "operator" | "admin";
  text: boolean;
  can: { stop: boolean; reload: boolean; text: boolean; playground: boolean };
  replica: string;
  version: string;
  started_at: string;
  demo: boolean;
  replicas: boolean;
};

/** One live generation. */
export type Row = {
  id: string;
  task_id: string;
  upstream_id: Text;
  started_at: string;
  age_seconds: number;
  phase: string;
  state: "queued" | "connecting" | "waiting" | "streaming" | "reading_on";
  dialect: string;
  route: string;
  upstream: string;
  model: Text;
  key_id: string;
  user: Text;
  tags: Record<string, string>;
  completion_tokens: Count;
  usage_source: string;
  characters: Count;
  cost: Text;
  currency: Text;
  replica: string;
  first_token_at: Text;
  cancel_asked: boolean;
};

/** One that ended. */
export type Gone = {
  id: string;
  task_id: string;
  outcome: string;
  cause: Text;
  elapsed_seconds: Count;
  completion_tokens: Count;
  usage_source: string;
  upstream_closed_ms: Count;
};

/** `complete` is false where not all is known: another replica did not answer, or has more than it tells. */
export type PageEvent = { at: string; total: number; matched: number; rows: Row[]; complete?: boolean };
export type ChangeEvent = PageEvent & { order?: string[]; gone: Gone[] };

export type Summary = {
  live: number;
  reading_on: number;
  queued: number;
  orphans: number;
  draining: boolean;
  today: {
    since: string;
    generations: number;
    stopped: number;
    stops_by_cause: Record<string, number>;
    completion_tokens: number;
    cost: Record<string, string>;
    saved_tokens: SavedTokens;
    saved_cost: Record<string, SavedCost> | null;
    late_tokens: number;
  };
};

/** What a stop did. */
export type Receipt = {
  task_id: string;
  message_id: string;
  result: "stopped" | "stopping" | "already_finished";
  status: string;
  cause: Text;
  phase: Text;
  elapsed_seconds: Count;
  upstream_closed_ms: Count;
  usage: { prompt_tokens: Count; completion_tokens: Count; source: string };
  late_tokens: Count;
  saved_tokens: SavedTokens;
};

export type StoppedMany = {
  dry_run: boolean;
  matched: string[];
  stopped: string[];
  count: number;
  unconfirmed: string[];
  complete: boolean;
};

/** A record, as `GET /api/generations/ID` shows it. */
export type Generation = {
  task_id: string;
  message_id: string;
  upstream_id: Text;
  dialect: string;
  route: string;
  upstream: string;
  model: Text;
  upstream_model: Text;
  key_id: string;
  user: Text;
  tags: Record<string, string>;
  replica: string;
  started_at: string;
  first_token_at: Text;
  ended_at: Text;
  outcome: string;
  cause: Text;
  cancelled_by: Text;
  reason: Text;
  prompt_tokens: Count;
  completion_tokens: Count;
  cached_tokens: Count;
  reasoning_tokens: Count;
  usage_source: string;
  encoding: Text;
  cost: Text;
  currency: Text;
  characters: Count;
  text?: Text;
  text_hidden?: boolean;
  text_clipped: boolean;
  error_kind: Text;
  phase: Text;
  elapsed_seconds: Count;
  upstream_closed_ms: Count;
  settlement: string;
  max_tokens: Count;
  late_tokens: Count;
  saved_most: Count;
  saved_typical: Count;
  unconfirmed?: boolean;
  aliases: string[] | null;
  format: Text;
};

/** What a screen gets. */
export type Context = {
  me: Me;
  api: typeof import("./api.js");
  navigate: (hash: string) => void;
  setQuery: (params: URLSearchParams) => void;
  announce: (text: string) => void;
};

/** A screen; `show` gives what is done when it is left. `id` is what stands behind its name in the address. */
export type Screen = {
  title: string;
  show: (root: HTMLElement, query: URLSearchParams, ctx: Context, id: string) => () => void;
};

declare global {
  type Attributes = import("./dom.js").Attributes;
  type Child = import("./dom.js").Child;
  type Me = import("./shapes.js").Me;
  type Row = import("./shapes.js").Row;
  type Gone = import("./shapes.js").Gone;
  type Summary = import("./shapes.js").Summary;
  type Receipt = import("./shapes.js").Receipt;
  type StoppedMany = import("./shapes.js").StoppedMany;
  type Count = import("./shapes.js").Count;
  type Generation = import("./shapes.js").Generation;
  type PageEvent = import("./shapes.js").PageEvent;
  type ChangeEvent = import("./shapes.js").ChangeEvent;
  type Context = import("./shapes.js").Context;
  type PageScreen = import("./shapes.js").Screen;
}
