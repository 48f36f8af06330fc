// Drives the official client through one scenario against the proxy at argv[2]; prints what it saw as JSON.
import OpenAI from "openai";

const [baseURL, scenario] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "sk-me", maxRetries: 0 });
const asked = { model: "m", input: "Tell me." };

async function whole() {
  const made = await client.responses.create({ ...asked, instructions: "Be brief." });
  const shown = await client.responses.retrieve(made.id);
  const items = [];
  for await (const item of client.responses.inputItems.list(made.id)) items.push(item.type);
  const deleted = await client.responses.delete(made.id);
  const gone = await client.responses.retrieve(made.id).catch((error) => error.status);
  return { made, shown, items, deleted: deleted ?? null, gone };
}

async function streamed() {
  const kinds = [];
  for await (const event of await client.responses.create({ ...asked, stream: true })) kinds.push(event.type);
  const helper = client.responses.stream({ ...asked });
  const final = await helper.finalResponse();
  const again = [];
  const byId = client.responses.stream({ response_id: final.id, starting_after: 4 });
  for await (const event of byId) again.push(event.type);
  const second = await byId.finalResponse();
  return { kinds, status: final.status, text: final.output_text, again, second: second.output_text };
}

async function background() {
  let found = await client.responses.create({ ...asked, background: true });
  const first = found.status;
  while (["queued", "in_progress"].includes(found.status)) {
    await new Promise((done) => setTimeout(done, 10));
    found = await client.responses.retrieve(found.id);
  }
  const refused = await client.responses.cancel(found.id).catch((error) => [error.status, error.message]);
  return { first, status: found.status, text: found.output_text, refused };
}

async function resumed() {
  const stream = await client.responses.create({ ...asked, background: true, stream: true });
  let id, position;
  for await (const event of stream) {
    position = event.sequence_number;
    if (event.type === "response.created") id = event.response.id;
    if (event.type === "response.output_text.delta") break; // leaves: the connection is closed
  }
  const numbers = [];
  let cancelled, last;
  for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: position })) {
    numbers.push(event.sequence_number);
    last = event;
    if (numbers.length === 7) cancelled = await client.responses.cancel(id);
  }
  const again = await client.responses.cancel(id);
  const helper = client.responses.stream({ response_id: id });
  const helped = await helper.finalResponse().catch((error) => error.message);
  return { position, numbers, last, cancelled, again, helped };
}

const scenarios = { whole, streamed, background, resumed };
console.log(JSON.stringify(await scenarios[scenario]()));
