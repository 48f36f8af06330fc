// Types of what the playground hands around. Not served: there is nothing to run in this file.

export interface Told {
  /** An event's text as it came, or a whole answer. */
  raw: string;
  /** What it calls itself: the `event:` line, else a name inside its JSON, else "". */
  name: string;
  /** Its JSON; null where it has none. */
  data: any;
}

export interface Route {
  path: string;
  dialects: string[];
  model: string | null;
  responses: "pass" | "emulate";
}

/** The answer of `/api/playground`; `origin` is what a command would call. */
export interface Served {
  routes: Route[];
  origin: string;
  needs_key: boolean;
  /** Whether the proxy lets only those in whose keys it knows. */
  has_keys: boolean;
  demo: boolean;
}

/** One HTTP call; `path` is below the route's. */
export interface Call {
  method: string;
  path: string;
  headers?: Record<string, string>;
  body?: object;
}

export interface Wish {
  prompt: string;
  model: string;
  /** The id that the caller chose. */
  chosen: string | null;
  /** An app's variables (Dify). */
  inputs: Record<string, string>;
}

export interface Ids {
  /** Quell's id, of the header `X-Task-Id`. */
  task?: string;
  /** The API's own id of the answer. */
  own?: string;
  thread?: string;
  assistant?: string;
}

/** How one API is started and stopped. */
export interface Recipe {
  id: string;
  title: string;
  /** The word of the config's `dialect`. */
  dialect: string;
  /** How this API stops, in a sentence or two. */
  about: string;
  /** What the second stop is answered. */
  twice: string;
  /** What somebody else's stop is answered. */
  stranger: string;
  /** Its requests name no model. */
  unnamed?: boolean;
  /** It runs on without a reader. */
  goesOn?: boolean;
  /** An early stop is an edit. */
  edits?: boolean;
  /** The header that has its credential; `Authorization` where none is named. */
  apiKey?: string;
  /** A call that is needed before the start. */
  first?(wish: Wish): Call;
  start(wish: Wish, ids: Ids): Call;
  /** The call that reads the answer, where the start does not. */
  read?(ids: Ids): Call;
  /** Take the ids out of an answer or an event. */
  learn(told: Told, ids: Ids): void;
  /** The piece of the answer in an event. */
  text(told: Told): string | undefined;
  /** Null: the id is not known yet. */
  stop(ids: Ids): Call | null;
  /** What is looked at when it is over. */
  after?(ids: Ids): Call;
}

export type Ending = "press" | "early" | "twice" | "stranger" | "leave" | "edit" | "keep";

/** How a try is ended; `key` is the caller's credential, `stranger` that of somebody else; or "". */
export interface How {
  ending: Ending;
  /** Whether Quell's own stop is used. */
  native: boolean;
  key: string;
  stranger: string;
}

/** What the upstream saw: the answer of `/api/playground-seen`. */
export interface Seen {
  task_id: string;
  phase: string | null;
  outcome: string;
  cause: string | null;
  upstream_closed_ms: number | null;
  characters: number | null;
  completion_tokens: number | null;
  demo: { closed: boolean; tokens_sent: number; of: number } | null;
}

/** A call and its answer. */
export interface Answered {
  call: Call;
  isStranger: boolean;
  status: number;
  ms: number;
  body: string;
}

export interface Try {
  state: "starting" | "running" | "over";
  ids: Ids;
  wish: Wish;
  how: How;
  /** How many pieces of the answer came: about as many tokens. */
  pieces: number;
  began: number;
  /** When the stream ended or was left. */
  ended: number | null;
  /** The status of the start's answer. */
  status: number | null;
  /** What the start was answered, where it was refused. */
  refused: string | null;
  /** The calls besides the start, in order: stops, and what was looked at afterwards. */
  answers: Answered[];
  seen: Seen | null;
  /** Whether the reader left. */
  left: boolean;
  stopping: boolean;
  /** Whether a stop was sent by its owner, and by a stranger. */
  asked: { own: boolean; stranger: boolean };
  stopCall(): Call | null;
  /** Stop it; or leave it, where that is what is tried. */
  stop(): Promise<void>;
  /** Nobody looks on any more. */
  close(): void;
}

export interface Tell {
  changed(): void;
  text(piece: string): void;
  frame(raw: string): void;
}

export type Line = [words: string, look: "idle" | "open" | "closed"];

/** A try in one sentence; `client` and `upstream` are the lines from Quell to each. */
export interface Story {
  headline: string;
  detail: string;
  client: Line;
  upstream: Line;
  made: number | null;
  of: number | null;
}

/** Start a call below a route's path `base`, and tell of it as it goes. */
export type Begin = (recipe: Recipe, base: string, wish: Wish, how: How, tell: Tell) => Try;
