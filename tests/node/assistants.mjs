// Drives the official client through one scenario against the proxy at argv[2]; prints what it saw as JSON.
import OpenAI from "openai";

const [baseURL, scenario] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "sk-me", maxRetries: 0 });
const { assistants, threads } = client.beta;

async function place(more = {}) {
  const assistant = await assistants.create({ model: "m", instructions: "Be brief.", ...more });
  const thread = await threads.create({ messages: [{ role: "user", content: "Tell me." }] });
  return [thread.id, { assistant_id: assistant.id }];
}

const refusal = (error) => [error.status, error.message];

async function polled() {
  const [thread_id, asked] = await place();
  const run = await threads.runs.createAndPoll(thread_id, asked);
  await threads.runs.createAndPoll(thread_id, asked);
  const roles = [];
  for await (const message of threads.messages.list(thread_id, { limit: 1 })) roles.push(message.role);
  const steps = [];
  for await (const step of threads.runs.steps.list(run.id, { thread_id, limit: 1 })) steps.push(step.status);
  const over = await threads.runs.cancel(run.id, { thread_id }).catch(refusal);
  const unknown = await threads.runs.cancel("run_x", { thread_id }).catch(refusal);
  return { status: run.status, roles, steps, over, unknown };
}

async function streamed() {
  const [thread_id, asked] = await place();
  const stream = threads.runs.stream(thread_id, asked);
  const deltas = [];
  stream.on("textDelta", (delta) => deltas.push(delta.value));
  const run = await stream.finalRun();
  const messages = await stream.finalMessages();
  const both = threads.createAndRunStream({ ...asked, thread: { messages: [{ role: "user", content: "Again." }] } });
  const names = [];
  for await (const event of both) names.push(event.event);
  return { status: run.status, deltas, text: messages[0].content[0].text.value, first: names[0], last: names.at(-1) };
}

async function cancelled() {
  const [thread_id, asked] = await place();
  const stream = threads.runs.stream(thread_id, asked);
  let answer = null;
  let done = null; // what finalMessages() has of a message never changes its status, in any stream
  stream.on("messageDone", (message) => (done = message));
  stream.on("textDelta", async (delta, snapshot) => {
    if (snapshot.value.endsWith("all ") && answer === null) {
      answer = threads.runs.cancel(stream.currentRun().id, { thread_id });
    }
  });
  const run = await stream.finalRun();
  const messages = await stream.finalMessages();
  const again = await threads.runs.cancel(run.id, { thread_id }).catch(refusal);
  return { answer: (await answer).status, status: run.status, text: messages[0].content[0].text.value, message: done, again };
}

async function tools() {
  const [thread_id, asked] = await place({ tools: [{ type: "function", function: { name: "look_up" } }] });
  const stream = threads.runs.stream(thread_id, asked);
  const calls = [];
  stream.on("toolCallDone", (call) => calls.push(call.function.arguments));
  const run = await stream.finalRun();
  const wanted = run.required_action.submit_tool_outputs.tool_calls;
  const tool_outputs = wanted.map((call) => ({ tool_call_id: call.id, output: "1" }));
  const more = threads.runs.submitToolOutputsStream(run.id, { thread_id, tool_outputs });
  const second = await more.finalRun();
  const done = await threads.runs.submitToolOutputsAndPoll(run.id, { thread_id, tool_outputs });
  return { calls, statuses: [run.status, second.status, done.status] };
}

const scenarios = { polled, streamed, cancelled, tools };
console.log(JSON.stringify(await scenarios[scenario]()));
