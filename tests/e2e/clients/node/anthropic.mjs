// The Anthropic TypeScript SDK, as a worker would use it.
import Anthropic from "@anthropic-ai/sdk";
import { QUESTION, call, piece, run } from "./report.mjs";

const client = new Anthropic();
const asked = { model: "claude-sonnet-4-5", max_tokens: 20, messages: [{ role: "user", content: QUESTION }] };

await run({
  async messages() {
    const { data, response } = await client.messages.create(asked).withResponse();
    call("messages", data.content[0].text, response.headers);
  },
  async stream() {
    const { data, response } = await client.messages.create({ ...asked, stream: true }).withResponse();
    let words = "";
    for await (const event of data) {
      const text = event.delta?.text ?? "";
      words += text;
      piece(text);
    }
    call("stream", words, response.headers);
  },
});
