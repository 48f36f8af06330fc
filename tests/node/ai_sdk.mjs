// Drives the handlers of the AI SDK's page at argv[2] against the proxy at argv[3]; prints what it saw as JSON.
process.env.OPENAI_BASE_URL = process.argv[3];
const { send, resume, end } = await import(process.argv[2]);

const CHAT = "chat-1";
const messages = [{ id: "m1", role: "user", parts: [{ type: "text", text: "Tell me a long story." }] }];

/** The chunks of a handler's stream, as the page gets them. */
async function* chunks(response) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const piece of response.body) {
    rest += decoder.decode(piece, { stream: true });
    const events = rest.split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

/** Read until so many pieces of text have come, or to the end. */
async function read(stream, pieces) {
  let text = "";
  let last;
  for (let left = pieces; left > 0; ) {
    const { value, done } = await stream.next();
    if (done) break;
    last = value;
    if (value.type === "error") throw new Error(value.errorText);
    if (value.type === "text-delta") {
      text += value.delta;
      left -= 1;
    }
  }
  return { text, last };
}

const request = new Request("http://app/api/chat", {
  method: "POST",
  body: JSON.stringify({ id: CHAT, messages }),
});
const first = chunks(await send(request));
const before = (await read(first, 10)).text;
await first.return(); // the page is left

const second = chunks(await resume(CHAT));
const begun = await read(second, 20);
const receipt = await (await end(CHAT)).json();
const ended = await read(second, Infinity);
const gone = (await resume(CHAT)).status;
console.log(JSON.stringify({ before, resumed: begun.text + ended.text, last: ended.last, receipt, gone }));
