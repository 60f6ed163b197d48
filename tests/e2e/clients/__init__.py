"""One small program per foreign client: it makes the calls named on its command line and prints what it got.

The contract of all of them, in whatever language: the base URL, the key and the audio file come from the environment
(`OPENAI_BASE_URL` or `ANTHROPIC_BASE_URL`, `OPENAI_API_KEY` or `ANTHROPIC_API_KEY`, `AUDIO`), proxy and CA from the
variables that client reads by itself. For each call one JSON line: `{"call", "text", "headgate"}`; while a stream runs
one line for each piece as it arrives: `{"piece"}`.
"""
