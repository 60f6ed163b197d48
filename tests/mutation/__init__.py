"""Single changes of the gate's Lua, each of which must fail a test (limiter.md 3.2; `make mutants`)."""
