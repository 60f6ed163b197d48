// What a client program of these tests prints; the contract is in ../__init__.py.
import { EnvHttpProxyAgent, setGlobalDispatcher } from "undici";

// Node 20's fetch reads no proxy variable by itself; this is the way its documentation gives. Plain http is asked for
// in absolute form, as HTTP_PROXY means it, and not through CONNECT.
setGlobalDispatcher(new EnvHttpProxyAgent({ proxyTunnel: false }));

export const QUESTION = "Good day? ✓ Grüße";

const print = (value) => process.stdout.write(JSON.stringify(value) + "\n");

export const piece = (text) => print({ piece: text });

export function call(name, text, headers) {
  const ours = Object.fromEntries([...headers].filter(([key]) => key.startsWith("x-headgate-")));
  print({ call: name, text, headgate: ours });
}

export async function run(calls) {
  for (const name of process.argv.slice(2)) await calls[name]();
}
