// Types of the usage screen. Not served: there is nothing to run in this file.

/** One group of `/api/usage`. A sum of which nothing is known is null. */
export interface Row {
  group: Record<string, string | null>;
  generations: number;
  prompt_tokens: number | null;
  completion_tokens: number | null;
  total_tokens: number | null;
  cached_tokens: number | null;
  reasoning_tokens: number | null;
  unknown: number;
  cost: Record<string, string>;
  cost_unknown: number;
  saved_most: number | null;
  saved_typical: number | null;
  late_tokens: number | null;
  saved_cost?: Record<string, { typical: string | null; most: string | null }> | null;
  [name: string]: any;
}

export interface Usage {
  since: string | null;
  until: string | null;
  by: string[];
  data: Row[];
}

/** What a chart takes of a row. */
export type Value = (row: Row) => number | null | undefined;

/** One colour and pattern of a chart: a value for each step; null: not known. */
export interface Series {
  name: string;
  values: (number | null)[];
}

export interface Chart {
  title: string;
  /** What it shows, in a sentence. */
  about: string;
  /** What a step is: hour or day. */
  step: string;
  /** The steps along the time, for the table; and the same, short, for the axis, where it may be named. */
  steps: string[];
  marks: string[];
  /** Stacked in this order. */
  series: Series[];
  format: (value: number | null) => string;
  /** The least that the axis tells apart: 1 for what is counted. */
  least: number;
}

/** What is shown: by hour or day, by which group, and the span and filters as the API takes them. */
export interface Asked {
  by: "hour" | "day";
  group: string;
  filters: Record<string, string>;
}
