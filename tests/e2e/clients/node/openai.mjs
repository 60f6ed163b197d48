// The `openai` Node SDK, as a worker would use it.
import fs from "node:fs";
import OpenAI from "openai";
import { QUESTION, call, piece, run } from "./report.mjs";

const client = new OpenAI();
const messages = [{ role: "user", content: QUESTION }];

await run({
  async chat() {
    const asked = client.chat.completions.create({ model: "gpt-4o", messages, max_tokens: 20 });
    const { data, response } = await asked.withResponse();
    call("chat", data.choices[0].message.content, response.headers);
  },
  async embeddings() {
    const asked = client.embeddings.create({ model: "text-embedding-3-small", input: [QUESTION, "b"] });
    const { data, response } = await asked.withResponse();
    call("embeddings", JSON.stringify(data.data.map((item) => item.embedding)), response.headers);
  },
  async audio() {
    const file = fs.createReadStream(process.env.AUDIO);
    const asked = client.audio.transcriptions.create({ model: "gpt-4o-transcribe", file });
    const { data, response } = await asked.withResponse();
    call("audio", data.text, response.headers);
  },
  async stream() {
    const asked = client.chat.completions.create({ model: "gpt-4o", messages, max_tokens: 20, stream: true });
    const { data, response } = await asked.withResponse();
    let words = "";
    for await (const event of data) {
      const text = event.choices[0].delta.content ?? "";
      words += text;
      piece(text);
    }
    call("stream", words, response.headers);
  },
});
