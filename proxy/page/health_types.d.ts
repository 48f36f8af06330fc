// Types of the health screen: what the admin API says. Not served: there is nothing to run in this file.

export interface Health {
  /** The readiness checks by name, and whether each passes. */
  ready: Record<string, boolean>;
  bus: { configured: boolean; up: boolean };
  ledger: { url: string; healthy: boolean; pending: number; bytes: number | null };
  build: { version: string; python: string };
  config: { file: string | null; loaded_at: string; needs_restart: string[] };
}

export interface UpstreamState {
  name: string;
  base_url: string;
  state: "ok" | "failing" | "unused";
  calls: number;
  slots: number | null;
  waiting: number;
  reading_on: number;
  /** How many errors of each kind there were in the last 5 minutes. */
  errors: Record<string, number>;
  last_error: { at: string; kind: string } | null;
  last_success_at: string | null;
  on_stop: string;
  bills_after_close: string;
}

export interface ConfigValue {
  key: string;
  value: unknown;
  line: number | null;
  column: number | null;
  from: string;
}

export interface LoadedConfig {
  file: string | null;
  values: ConfigValue[];
}

/** A node of the OpenAPI document. */
export type Spec = Record<string, any>;
