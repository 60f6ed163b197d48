"""rules/gate/promise.lua, held to a model of it: what is said, done and kept in a tick, from any state."""

from __future__ import annotations

import random

import pytest

from .modules import Lua
from .promises import BEFORE, CHARGED, COSTS, EARLY, FARTHEST, FRAMES, KEPT, MOST, NOW, Promise, Promises

FILES = (
    "this",
    """
    local done = {}
    local function note(...)
      for i = 1, select("#", ...) do
        done[#done + 1] = tostring(select(i, ...))
      end
    end
    local bucket, line, pool = {}, {}, { serves = true }
    function bucket.give_back(limit, cost, slice, owner, free)
      note("back", limit.id, order.text(cost), order.text(slice), owner, free)
    end
    function line.head(attempt)
      return line.waiting and { attempt = attempt } or nil
    end
    function line.leave(head)
      note("leaves", head.attempt)
      return { "b:one", "b:two" }
    end
    function line.stand(head)
      note("stands", head.attempt)
    end
    function line.register(head, name)
      note("registers", head.attempt, name)
    end
    function pool.can_serve(frame, index, costs)
      note("serves", frame.name, order.text(index), order.text(costs[1]))
      return pool.serves
    end
    """,
    "call",
    "frames",
    "promise",
)
PROGRAM = """
local lives, lost = {}, "-"
local plain = store.expire
function store.expire(key, ms)
  lives[#lives + 1] = string.sub(key, 1, 3) ~= "fr:" and key .. "=" .. order.text(ms) or nil
  plain(key, ms)
end
local function head_of(flow, frame, again, enqueued, deadline, patient)
  local out = {
    flow = flow, frame = call.frame(FRAMES[frame]), again = again, enqueued = enqueued, deadline = deadline,
    patient = patient == 1, priority = 3, share = 40, class = "l.t", costs = {}, tries = true,
  }
  for cost in string.gmatch(COSTS[frame], "%d+") do
    out.costs[#out.costs + 1] = tonumber(cost)
  end
  return out
end
local steps = {}
function steps.record(n, text)
  store.put("pm", { n, text })
end
function steps.due(n, at)
  store.zput("due", { n, at })
end
function steps.told(flow, at, text)
  store.zput("told:" .. flow, { text, at })
end
function steps.flow(id, count, owed, trust)
  store.put("pf:" .. id, { "c", count, "o", owed, "t", trust })
end
function steps.lose(pool)
  lost = pool
end
function steps.begin(promised, in_line, waiting, serves)
  this.now, this.promised, this.made, line.waiting, pool.serves = NOW, promised, BEFORE, waiting == 1, serves == 1
  if in_line > 0 then
    store.zput("on:" .. promise.OWNER, { "a", 0, "b", in_line, "c", -1 })
  end
  for _, text in pairs(FRAMES) do
    frames.begin()
    if lost ~= string.match(text, "^%S+") then
      frames.keep({ frame = call.frame(text), deadline = 10 * NOW })
    end
  end
  frames.begin()
  lives = {}
  promise.begin()
end
function steps.look()
  say("due", promise.due())
end
function steps.find(flow, frame, again)
  local head = head_of(flow, frame, again, 0, 0, 0)
  local p = promise.find(head)
  say("find", p and p.n or "-")
  if p then
    say(p.told, p.state, p.head.enqueued, promise.redeem(p, head) or "-")
  end
end
function steps.keep(n, index, a, b, c, d)
  promise.keep({ n = n }, index, { a, b, c, d })
end
function steps.tell(flow, frame, again, enqueued, deadline, patient, at, turn)
  say("tell", promise.tell(head_of(flow, frame, again, enqueued, deadline, patient), at, turn))
end
function steps.ask(flow)
  say("ask", promise.in_line(), promise.of_others(flow), promise.owed(flow))
end
function steps.save(kept)
  promise.save()
  table.sort(lives)
  say(done, lives, this.promised, this.made, store.all("pm"), store.zrange("due", 0, -1))
  for _, flow in ipairs({ "u", "v" }) do
    say(store.all("pf:" .. flow), store.zrange("told:" .. flow, 0, -1))
    store.delete("pf:" .. flow)
    store.delete("told:" .. flow)
  end
  say(store.texts("fr:" .. kept, { "t" })[1] and 1 or 0)
  for _, key in ipairs({ "pm", "due", "on:" .. promise.OWNER, "fr:A", "fr:B", "fr:C" }) do
    store.delete(key)
  end
  done, lost = {}, "-"
end
for line in string.gmatch(LINES, "[^/]+") do
  local name, words, text = string.match(line, "^(%a+) ?([^|]*)|?(.*)$")
  local values = {}
  for word in string.gmatch(words, "%S+") do
    values[#values + 1] = tonumber(word) and #word < 12 and tonumber(word) or word
  end
  if text ~= "" then
    values[#values + 1] = text
  end
  steps[name](unpack(values))
end
"""


def given(rng: random.Random, lines: list[str]) -> Promises:
    """Any state, and the lines that make it."""
    all_ = Promises()
    for name in "uv":
        if rng.random() < 0.8:
            count, owed = rng.choice([0, 1, 2, 62]), rng.choice([0, 39, 40, 80, 400])
            all_.flows[name] = [count, owed, rng.choice([1, 2, 3, count, count + 1, 64, 1023, 1024])]
            all_.written.add(name)
            lines.append(f"flow {name} {' '.join(map(str, all_.flows[name]))}")
    all_.lost = lost = rng.choice(["-", "-", "-", "A", "B"])
    for n in rng.sample(range(1, 9), rng.choice([0, 1, 3, 5])):
        flow, frame = rng.choice("uuv"), rng.choice("ABC")
        told = NOW + rng.choice([-KEPT - 1, -KEPT, -KEPT + 1, -1, 4, EARLY, EARLY + 1, 7000])
        one = Promise(n, flow, frame, rng.choice("cccd"), told, rng.choice("wplr"), NOW - 700)
        if one.state == "r":
            one.index = rng.choice([index for of, index in CHARGED if of == frame])
            one.slices = [rng.randrange(9000) for _ in CHARGED[frame, one.index]]
        if rng.random() < 0.95:
            lines.append(f"record {one.name} |{one.record()}")
            (all_.forgotten if frame == lost else all_.known)[n] = one
        all_.due[n] = told - 1000 if one.state == "w" else told + KEPT
        if rng.random() < 0.2:
            all_.due[n] = NOW + rng.choice([0, 1])
        all_.told[flow][f"{one.name} {one.again}"] = told
        lines += [f"due {one.name} {all_.due[n]}", f"told {flow} {told} |{one.name} {one.again}"]
    if lost != "-":
        lines.append(f"lose {FRAMES[lost][0]}")
    all_.promised = rng.choice([0, 1, 2, 5, 5, 5, 5, MOST - 1, MOST])
    all_.in_line, all_.waiting, all_.serves = rng.choice([0, 1]), rng.random() < 0.7, rng.random() < 0.7
    lines.append(f"begin {all_.promised} {all_.in_line} {int(all_.waiting)} {int(all_.serves)}")
    return all_


@pytest.mark.parametrize("seed", range(3))
def test_what_was_promised_is_kept_redeemed_or_missed(lua: Lua, seed: int) -> None:
    """From any state: what is due is looked at, then calls come back, are refused, or have their turn."""
    rng, lines, says = random.Random(seed), list[str](), list[str]()
    for _ in range(200):
        all_ = given(rng, lines)
        if rng.random() < 0.6:
            lines.append("look")
            all_.look()
        for _ in range(rng.choice([0, 1, 1, 2, 3])):
            flow, frame = rng.choice("uuv"), rng.choice("ABC")
            match rng.choice("afffttttk"):
                case "a":
                    lines.append(f"ask {flow}")
                    all_.ask(flow)
                case "f":
                    again = rng.choice("ccccd-")
                    lines.append(f"find {flow} {frame} {again}")
                    all_.find(flow, frame, again)
                case "k":
                    n = rng.choice([*all_.known, 9])
                    of = all_.known[n].frame if n in all_.known else "C"
                    index = rng.choice([index for frame, index in CHARGED if frame == of])
                    slices = [rng.randrange(9000) for _ in CHARGED[of, index]]
                    lines.append(f"keep {n} {index} {' '.join(map(str, slices))}")
                    all_.keep(n, index, slices)
                case _:
                    patience, deadline = rng.choice([0, 0, 1]), NOW + rng.choice([-1, 0, 0, 1])
                    at = NOW + rng.choice([0, 1, 777, 4321, FARTHEST[frame], FARTHEST[frame] + 1])
                    turn = rng.choice([0, 100, 433, 900, 5000])
                    enqueued = NOW - rng.randrange(900)
                    lines.append(f"tell {flow} {frame} e {enqueued} {deadline} {patience} {at} {turn}")
                    all_.tell(flow, frame, "e", enqueued, bool(patience) or deadline > NOW, at, turn)
        frame = rng.choice("ABC")
        lines.append(f"save {frame}")
        says.append(f"{all_.save()} {int(all_.knows(frame))}")
    assert said(lua, lines) == " ".join(says)


def said(lua: Lua, lines: list[str]) -> str:
    """What the gate says to these lines."""
    frames = ", ".join(f'{name} = "{text}"' for name, text in FRAMES.items())
    costs = ", ".join(f'{name} = "{text}"' for name, text in COSTS.items())
    known = f"local NOW, BEFORE, FRAMES, COSTS = {NOW}, {BEFORE}, {{ {frames} }}, {{ {costs} }}\n"
    return lua(FILES, known + f"local LINES = [[{'/'.join(lines)}]]" + PROGRAM)


def test_a_tick_looks_at_sixty_four_that_are_due(lua: Lua) -> None:
    """Of 66 whose records are gone two are there still."""
    lines = [f"due {n:012} {NOW}" for n in range(1, 67)]
    kept = f"{65:012} {NOW} {66:012} {NOW}"
    assert said(lua, [*lines, "begin 5 0 0 0", "look", "save A"]) == f"due . . . 5 {BEFORE} . {kept} . . . . . 1"


@pytest.mark.parametrize(("others", "found"), [(63, True), (64, False)])
def test_a_call_that_comes_back_is_sought_among_sixty_four(lua: Lua, others: int, found: bool) -> None:
    """Those that its flow was told first."""
    lines = [f"told u {NOW - 1} |{n:012} d" for n in range(1, others + 1)]
    one = Promise(99, "u", "C", "c", NOW, "l", NOW - 1)
    lines += ["flow u 65 0 64", f"record {one.name} |{one.record()}", f"told u {NOW} |{one.name} c"]
    says = said(lua, [*lines, "begin 5 0 0 0", "find u C c", "save A"])
    assert says.startswith(f"find 99 {NOW} l {NOW - 1} -" if found else "find - . .")
