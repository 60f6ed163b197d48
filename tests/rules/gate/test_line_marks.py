"""rules/gate/line.lua by itself, with what it stands on: flows, their order, and what is kept of them."""

from __future__ import annotations

import pytest

from .modules import Lua

FILES = ("this", "local bucket = {}", "call", "frames", "ranked", "fair", "place", "rivals", "draws", "line")

BEGIN = """
  local replica, asked = "replica-00000001", {}
  this.now = 1000
  function bucket.queue(limit, change) asked[limit.id] = (asked[limit.id] or 0) + change end
  function bucket.queued() return 1000 end
  local function begin()
    for _, file in ipairs({ ranked, fair, place, rivals, frames, line, draws }) do
      file.begin()
    end
  end
  local function next_tick()
    for _, file in ipairs({ line, draws, place, rivals, fair, ranked }) do
      file.save()
    end
    begin()
  end
  local commons = "one:x c 4 0 0 two:x c 4 0 0"
  local frame = call.frame("P 2 2 a.t 1000 NAME " .. commons .. " k g 0 0 1 k:1 c 4 0 0 l h 0 0 1 k:2 c 4 0 0")
  local function head(n, flow, with)
    local out = {
      n = n, owner = replica, attempt = call.attempt(replica, n), frame = frame, costs = { 1, 2, 3, 4 },
      enqueued = n, deadline = 5000 + n, most_waiting = 100, flow = flow, priority = 0, share = 10, class = "a.t",
    }
    for name, value in pairs(with or {}) do
      out[name] = value
    end
    return out
  end
  local function comes(n, flow, name, with)
    local one = head(n, flow, with)
    line.stand(one)
    line.register(one, name)
    return one
  end
  local function waiting(n)
    return line.head(call.attempt(replica, n))
  end
  local function flow(id)
    local f = line.flow(id, "a.t")
    say(f.size, f.start, f.owed, f.moves, f.place or "-", f.bars)
  end
  local function stands(name)
    local skips = {}
    while true do
      local e = place.next(name, skips)
      if not e then
        break
      end
      say(e.flow, e.tag, e.enqueued)
      skips[e.class] = (skips[e.class] or 0) + 1
    end
    say("|")
  end
  begin()
"""


def test_a_flow_stands_where_its_first_call_waits(lua: Lua) -> None:
    """With one tag; the calls behind it stand nowhere, and all of it is kept."""
    program = """
      comes(3, "f", "b:one:x")
      comes(4, "f", "b:two:x")
      comes(5, "g", "b:one:x", { share = 7 })
      for _ = 1, 2 do
        stands("b:one:x")
        stands("b:two:x")
        flow("f")
        flow("g")
        say(this.waiting, asked["one:x"], asked["two:x"], asked["k:1"], asked["k:2"])
        next_tick()
      end
      say(store.zrange("h:f", 0, -1), store.zrange("on:" .. replica, 0, -1), store.all("rivals"))
      say(store.texts("d:" .. replica, { "000000000005" }))"""
    once = "f 0 3 g 0 5 | | 2 0 20 0 b:one:x . 1 0 7 0 b:one:x . 3 3000 6000 4500 6000"
    rank = 9 * 2199023255552
    calls = f"replica-00000001-000000000003 {rank + 3} replica-00000001-000000000004 {rank + 4} ."
    numbers = "000000000003 3 000000000004 4 000000000005 5 ."
    record = "g NAME 5 5005 0 7 0 1 2 3 4 ."
    assert lua(FILES, BEGIN + program) == f"{once} {once} {calls} {numbers} a.t 2 1000 . . {record}"


def test_a_calls_turn_is_its_flows_and_behind_what_waits_before_it(lua: Lua) -> None:
    """An older or more urgent call leads its flow with the flow's tag, a younger one comes after what the flow owes."""
    program = """
      local function stand(n, with)
        local one = head(n, "f", with)
        line.stand(one)
        say(one.tag, one.leads)
      end
      stand(9)
      fair.remember("a.t", "f", 30)
      stand(9)
      comes(10, "f", "b:one:x")
      comes(11, "f", "b:one:x", { share = 5 })
      for _ = 1, 2 do
        stand(12)
        stand(9)
        stand(12, { priority = 1 })
        stand(10, { attempt = call.attempt(replica, 9) })
        stand(10, { attempt = call.attempt(replica, 11) })
        next_tick()
      end
      line.flow("f", "a.t").start = order.FAR - 5
      stand(12)"""
    once = "45 false 30 true 30 true 30 true 45 false"
    assert lua(FILES, BEGIN + program) == f"0 true 30 true {once} {once} 9007199254740991 false"


def test_a_call_that_leads_takes_its_flow_with_it(lua: Lua) -> None:
    """To where it was short; one behind it moves nothing."""
    program = """
      comes(5, "f", "b:one:x")
      next_tick()
      comes(3, "f", "b:two:x")
      stands("b:one:x")
      stands("b:two:x")
      comes(9, "f", "b:one:x")
      stands("b:one:x")
      next_tick()
      stands("b:one:x")
      stands("b:two:x")
      flow("f")"""
    assert lua(FILES, BEGIN + program) == "| f 0 3 | | | f 0 3 | 3 0 30 0 b:two:x ."


@pytest.mark.parametrize(
    ("waiting", "most", "keeps", "room"),
    [
        (8, 9, "false", True),
        (9, 10, "false", False),
        (10, 11, "false", False),
        (10, 11, "true", True),
        (10, 10, "true", False),
        (17, 19, "false", True),
        (18, 20, "false", False),
    ],
)
def test_a_flow_may_hold_nine_times_the_room_that_is_left(
    lua: Lua, waiting: int, most: int, keeps: str, room: bool
) -> None:
    """One that keeps its place needs room for itself alone."""
    program = f"""
      for n = 1, {waiting} do
        comes(n, "f", "b:one:x")
      end
      say(this.waiting, line.has_room(head(99, "f", {{ most_waiting = {most}, keeps_place = {keeps} }})))"""
    assert lua(FILES, BEGIN + program) == f"{waiting} {str(room).lower()}"


def test_a_flow_sent_from_limit_to_limit_twice_stands_at_all_of_them(lua: Lua) -> None:
    """Unless another does; each move counts once, and one to where it is not at all."""
    program = """
      comes(1, "f", "b:one:x")
      comes(2, "g", "b:two:x")
      next_tick()
      line.move(waiting(1), "b:two:x")
      line.move(waiting(1), "b:two:x")
      flow("f")
      stands("b:one:x")
      stands("b:two:x")
      line.move(waiting(1), "b:one:x")
      line.move(waiting(2), "b:one:x")
      line.move(waiting(2), "b:two:x")
      next_tick()
      flow("f")
      flow("g")
      stands("b:one:x")
      stands("b:two:x")
      say(line.places(line.flow("f", "a.t")), line.places(line.flow("g", "a.t")))
      for _, name in ipairs({ "b:one:x", "b:two:x", "p:P" }) do
        say(line.stands(line.flow("f", "a.t"), name), line.stands(line.flow("g", "a.t"), name))
      end
      say(line.stands(line.flow("none", "a.t"), "b:one:x"), store.texts("bar", { "b:one:x", "b:two:x" }))
      say(store.zcount("pools:k:1", 0))"""
    first = "1 0 10 1 b:two:x . | f 0 1 g 0 2 |"
    then = "1 0 10 2 b:one:x b:one:x b:two:x . 1 0 10 2 b:two:x . f 0 1 | f 0 1 g 0 2 |"
    places = "b:one:x b:two:x . b:two:x . true false true true false false"
    assert lua(FILES, BEGIN + program) == f"{first} {then} {places} false f f . 0"


def test_a_flow_of_one_limit_bars_nothing(lua: Lua) -> None:
    """However often it is sent between it and its keys."""
    program = """
      local frame = call.frame("Q 1 1 a.t 1000 NAME2 one:x c 4 0 0 k g 0 0 1 k:1 c 4 0 0")
      local one = comes(1, "f", "b:one:x", { frame = frame, costs = { 1, 1 } })
      for _, name in ipairs({ "p:Q", "b:one:x", "p:Q" }) do
        line.move(one, name)
      end
      flow("f")"""
    assert lua(FILES, BEGIN + program) == "1 0 10 3 p:Q ."


def test_when_the_first_leaves_the_next_stands_where_it_stood(lua: Lua) -> None:
    """As no barrier any more; who leaves from behind it stood nowhere, and the last leaves nothing."""
    program = """
      for n = 1, 3 do
        comes(n, "f", "b:one:x")
      end
      next_tick()
      line.move(waiting(1), "b:two:x")
      line.move(waiting(1), "b:one:x")
      next_tick()
      say(line.leave(waiting(2)))
      say(line.leave(waiting(1)))
      say(waiting(1), waiting(2), waiting(3).n)
      for _ = 1, 2 do
        flow("f")
        stands("b:one:x")
        stands("b:two:x")
        say(this.waiting, asked["one:x"], asked["k:2"])
        next_tick()
      end
      say(store.texts("bar", { "b:one:x", "b:two:x" }), waiting(1), waiting(2), waiting(3).enqueued)
      say(line.leave(waiting(3)), line.stands(line.flow("f", "a.t"), "b:one:x"))
      flow("f")
      next_tick()
      say(this.waiting, asked["one:x"], asked["k:2"], store.texts("f:f", { "s", "n" }), store.zcount("h:f", 0))
      say(store.zcount("on:" .. replica, 0), store.zcount("at:b:one:x", 0), store.all("rivals"))"""
    once = "1 0 10 0 b:one:x . f 0 3 | | 1 1000 2000"
    told = f". b:one:x b:two:x . nil nil 3 {once} {once} false false . nil nil 3"
    assert lua(FILES, BEGIN + program) == f"{told} b:one:x . false 0 0 0 0 b:one:x . 0 0 0 false false . 0 0 0 ."


def test_calls_that_leave_together_leave_their_flows_hidden_until_all_have_gone(lua: Lua) -> None:
    """Only the first of a flow tells where it stood; what each asked is the crowd's to count."""
    program = """
      for n = 1, 4 do
        comes(n, "f", "b:one:x")
      end
      comes(5, "g", "b:one:x")
      next_tick()
      local sum, crowd = 0, { flows = {} }
      function crowd.count(_, thousandths) sum = sum + thousandths end
      for _, n in ipairs({ 1, 2, 5, 4 }) do
        say(line.leave(waiting(n), crowd))
      end
      stands("b:one:x")
      line.show_again(crowd.flows)
      stands("b:one:x")
      say(#crowd.flows, sum, asked["one:x"], this.waiting)
      say(line.leave(waiting(3)))
      stands("b:one:x")"""
    assert lua(FILES, BEGIN + program) == "b:one:x . . b:one:x . . | f 0 3 | 1 26000 5000 1 b:one:x . |"


def test_who_is_served_while_others_of_his_wait_goes_back_by_his_share(lua: Lua) -> None:
    """And who does not wait is remembered by where he ends."""
    program = """
      comes(1, "f", "b:one:x")
      line.serve(head(9, "f", { share = 4 }), 20)
      stands("b:one:x")
      line.serve(head(9, "g", { share = 6 }), 30)
      next_tick()
      stands("b:one:x")
      say(line.flow("f", "a.t").start, fair.start("a.t", "g"), fair.time("a.t"))"""
    assert lua(FILES, BEGIN + program) == "f 24 1 | f 24 1 | 24 36 30"


def test_a_correction_moves_the_tag_of_who_waits_and_the_end_of_who_does_not(lua: Lua) -> None:
    """Down to the time of the class at most."""
    program = """
      fair.remember("a.t", "f", 50)
      fair.remember("a.t", "g", 60)
      fair.serve("a.t", 40, 1)
      comes(1, "f", "b:one:x")
      next_tick()
      line.correct("f", "a.t", 7)
      line.correct("g", "a.t", -30)
      line.correct("h", "a.t", 5)
      next_tick()
      stands("b:one:x")
      say(fair.start("a.t", "f"), fair.start("a.t", "g"), fair.start("a.t", "h"), fair.time("a.t"))
      line.correct("f", "a.t", -3)
      stands("b:one:x")"""
    assert lua(FILES, BEGIN + program) == "f 57 1 | 50 40 45 40 f 54 1 |"


def test_a_call_is_found_by_its_number_until_it_leaves_and_again_when_it_comes_back(lua: Lua) -> None:
    """Whether its record was asked for before or not; in one tick too, as when a replica states its calls anew."""
    program = """
      comes(1, "f", "b:one:x")
      comes(2, "g", "b:one:x")
      say(waiting(1).n, waiting(3))
      next_tick()
      line.read(replica, { "000000000001", "000000000003" })
      say(waiting(2) == waiting(2), waiting(1).costs, waiting(1).deadline, waiting(3), waiting(2).share)
      line.leave(waiting(1))
      say(waiting(1))
      comes(1, "f", "b:two:x", { share = 8 })
      say(waiting(1).share)
      line.leave(comes(4, "f", "b:two:x"))
      next_tick()
      line.leave(comes(7, "h", "b:two:x"))
      next_tick()
      say(waiting(1).share, waiting(4), waiting(7), store.zrange("on:" .. replica, 0, -1))
      flow("f")"""
    told = "1 nil true 1 2 3 4 . 5001 nil 10 nil 8 8 nil nil 000000000001 1 000000000002 2 . 1 0 8 0 b:two:x ."
    assert lua(FILES, BEGIN + program) == told


def test_the_pools_that_draw_on_a_bucket_are_known_while_somebody_waits_for_them(lua: Lua) -> None:
    """From the first that waits for one of its keys, by arrival or by move; an empty one is dropped from the index."""
    program = """
      local function pools()
        say(draws.places("k:1"), draws.places("k:2"), draws.places("one:x"))
      end
      pools()
      comes(1, "f", "b:one:x")
      next_tick()
      say(store.zcount("pools:k:1", 0))
      pools()
      next_tick()
      line.move(waiting(1), "p:P")
      next_tick()
      pools()
      next_tick()
      line.leave(waiting(1))
      pools()
      say(store.zrange("pools:k:1", 0, -1))
      next_tick()
      say(store.zrange("pools:k:1", 0, -1), store.zrange("pools:k:2", 0, -1), store.numbers("pool:P", { "x" }))
      comes(2, "f", "p:P")
      comes(3, "f", "p:P")
      next_tick()
      pools()
      say(store.numbers("pool:P", { "x" }))"""
    none, both = ". . .", "p:P . p:P . ."
    assert lua(FILES, BEGIN + program) == f"{none} 0 {none} {both} {none} P 0 . . . false . {both} 1000 ."


def test_several_pools_may_draw_on_a_bucket(lua: Lua) -> None:
    """Each is told while somebody waits for it."""
    program = """
      for n, name in ipairs({ "Q", "R", "S" }) do
        local other = call.frame(name .. " 1 0 a.t 1000 N" .. name .. " k g 0 0 1 k:1 c 4 0 0")
        comes(n, "f" .. n, "p:" .. name, { frame = other, costs = { 1 } })
      end
      next_tick()
      say(draws.places("k:1"))
      line.leave(waiting(2))
      say(draws.places("k:1"))
      next_tick()
      say(draws.places("k:1"), store.all("rivals"))"""
    assert lua(FILES, BEGIN + program) == "p:Q p:R p:S . p:Q p:S . p:Q p:S . a.t 2 1000 . ."


def test_what_goes_before_a_call_is_told_by_its_rivals(lua: Lua) -> None:
    """By what its own flow owes; nothing for one that keeps a place, or where nobody waits."""
    program = """
      local limit = { amount = 2^30 }
      local function ahead(n, flow, with)
        say(line.ahead(head(n, flow, with), limit, false))
      end
      ahead(1, "f")
      comes(1, "f", "b:one:x")
      comes(2, "g", "b:one:x", { share = 20 })
      ahead(3, "f")
      ahead(3, "g")
      ahead(3, "h")
      ahead(3, "f", { keeps_place = true })"""
    # two flows: each of what f owes and asks, 10 + 10, or g, 20 + 10; h is a third that asks for 10
    assert lua(FILES, BEGIN + program) == "0 30 50 20 0"


def test_the_index_of_pools_is_written_again_after_an_hour(lua: Lua) -> None:
    """So that it outlives whoever waits; and at once where it was dropped in the same tick."""
    program = """
      local function at(now, n)
        this.now = now
        comes(n, "f" .. n, "p:P")
        next_tick()
        say(store.numbers("pool:P", { "x" }))
      end
      at(1000, 1)
      at(3600999, 2)
      at(3601000, 3)
      for n = 1, 3 do
        line.leave(waiting(n))
      end
      next_tick()
      draws.places("k:1")
      at(3601001, 4)
      say(draws.places("k:1"), draws.places("k:2"))"""
    assert lua(FILES, BEGIN + program) == "1000 . 1000 . 3601000 . 3601001 . p:P . p:P ."
