// Node's own fetch.
import { QUESTION, call, piece, run } from "./report.mjs";

const base = process.env.OPENAI_BASE_URL;
const headers = { Authorization: `Bearer ${process.env.OPENAI_API_KEY}`, "Content-Type": "application/json" };
const body = (more) => JSON.stringify({ model: "gpt-4o", messages: [{ role: "user", content: QUESTION }], ...more });

async function good(path, init) {
  const reply = await fetch(`${base}${path}`, { headers, ...init });
  if (!reply.ok) throw new Error(`${reply.status} ${await reply.text()}`);
  return reply;
}

await run({
  async models() {
    const reply = await good("/models", {});
    call("models", (await reply.json()).data[0].id, reply.headers);
  },
  async chat() {
    const reply = await good("/chat/completions", { method: "POST", body: body({}) });
    call("chat", (await reply.json()).choices[0].message.content, reply.headers);
  },
  async stream() {
    const reply = await good("/chat/completions", { method: "POST", body: body({ stream: true }) });
    let words = "";
    let rest = "";
    for await (const text of reply.body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data: ") || line.startsWith("data: [DONE]")) continue;
        const word = JSON.parse(line.slice(6)).choices[0].delta.content ?? "";
        words += word;
        piece(word);
      }
    }
    call("stream", words, reply.headers);
  },
});
