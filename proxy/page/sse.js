/** Cutting an answer into events, each with its lines as they came. */

/** @import {Told} from "./tries.js" */

/**
 * The events of a stream, comments too; an answer that is no stream is one.
 * @param {Response} response
 * @param {() => void} [onBytes] Called for each piece that arrives, heartbeats too.
 * @returns {AsyncGenerator<Told>}
 */
export async function* told(response, onBytes) {
  if (!response.body) return;
  const streams = response.headers.get("Content-Type")?.startsWith("text/event-stream");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let [rest, returned] = ["", false];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      onBytes?.();
      const text = !streams ? value : (returned && value.startsWith("\n") ? value.slice(1) : value).replace(/\r\n?/g, "\n");
      returned = value.endsWith("\r"); // a line has ended; a \n that comes next is the rest of its end
      const parts = streams ? (rest + text).split("\n\n") : [rest + text];
      rest = parts.pop() ?? "";
      for (const raw of parts) yield event(raw);
    }
    if (rest) yield streams ? event(rest) : whole(rest);
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

/** @param {string} raw @returns {Told} */
function event(raw) {
  const lines = raw.split("\n");
  const of = (/** @type {string} */ name) => lines.filter((line) => line.startsWith(name)).map((line) => line.slice(name.length).trim());
  const { name, data } = whole(of("data:").join("\n"));
  return { raw, name: of("event:")[0] ?? name, data };
}

/** A JSON text as an event. @param {string} raw @returns {Told} */
export function whole(raw) {
  let data = null;
  try {
    data = JSON.parse(raw);
  } catch {
    // "[DONE]", or no JSON
  }
  const name = data?.event ?? data?.type;
  return { raw, name: typeof name === "string" ? name : "", data };
}
