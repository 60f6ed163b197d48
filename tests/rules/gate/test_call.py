"""rules/gate/call.lua: what a frame's text says, and a waiting call there and back."""

from __future__ import annotations

from .modules import Lua

FILES = ("this", "call")

FRAME = " ".join(
    [
        "P 3 2 lane.tier 1500 NAME",
        "w:1:x w 10 100 1000 7 3",
        "end e 8 50 900 5 2",
        "k1 g1 0 1 2 s1",
        "w:1:y w 12 100 1000 0 1",
        "seats:z c 4 0 0",
        "k2 g1 1 2 1 s2 s3",
        "day:z q 9 86400000 172800000 400",
        "k3 g2 2 0 1",
        "tb:z t 6 5 300",
    ]
)
SHOW = f"""
local frame = call.frame("{FRAME}")
local function limit(l)
  say(l.id, l.name, l.kind, l.amount, l.w, l.length, l.jitter or "-", l.idle or "-", l.busy or "-")
end
"""


def test_a_frames_text_says_which_limits_and_which_candidates(lua: Lua) -> None:
    """Each with its numbers, and with where its costs begin."""
    program = """
      say(frame.text == call.frame(frame.text).text, frame.pool, frame.class, frame.weight, frame.name, frame.costs)
      for _, l in ipairs(frame.commons) do limit(l) end
      for _, c in ipairs(frame.candidates) do
        say(c.key, c.group, c.rank, c.index, c.from, c.scopes)
        for _, l in ipairs(c.limits) do limit(l) end
      end"""
    assert lua(FILES, SHOW + program) == " ".join(
        [
            "true P lane.tier 1500 NAME 6",
            "w:1:x w:1 w 10 100 1000 - 7 3",
            "end end e 8 50 900 - 5 2",
            "k1 g1 0 1 2 s1 .",
            "w:1:y w:1 w 12 100 1000 - 0 1",
            "seats:z seats c 4 0 0 - - -",
            "k2 g1 1 2 4 s2 s3 .",
            "day:z day q 9 86400000 172800000 400 - -",
            "k3 g2 2 3 5 .",
            "tb:z tb t 6 5 300 - - -",
        ]
    )


def test_each_limit_is_named_once_with_its_largest_amount(lua: Lua) -> None:
    """Of the service or of a key, and one of nothing with nothing."""
    program = f"""
      for _, one in ipairs(frame.named) do
        say(one.name, one.amount)
      end
      say(call.frame("{FRAME.replace("end e 8", "end e 0")}").named[2].amount)"""
    assert lua(FILES, SHOW + program) == "w:1 12 end 8 seats 4 day 9 tb 6 0"


def test_a_waiting_call_asks_of_each_key_by_how_likely_it_serves(lua: Lua) -> None:
    """Two groups take turns, and the two keys of one; thousandths of cost, rounded down."""
    program = """
      call.asks({ frame = frame, costs = { 2, 3, 1, 5, 7, 9 } }, function(l, thousandths) say(l.id, thousandths) end)
      local frame = call.frame("P 3 0 c 1 N a g 0 0 1 x:a c 4 0 0 b g 0 0 1 x:b c 4 0 0 c g 0 0 1 x:c c 4 0 0")
      call.asks({ frame = frame, costs = { 1, 2, 3 } }, function(l, thousandths) say(l.id, thousandths) end)"""
    asked = "w:1:x 2000 end 3000 w:1:y 250 seats:z 1250 day:z 1750 tb:z 4500 x:a 333 x:b 666 x:c 1000"
    assert lua(FILES, SHOW + program) == asked


def test_two_candidates_share_a_bucket_where_one_of_theirs_is_the_same(lua: Lua) -> None:
    """A candidate shares with itself, whatever its limits."""
    frame = "P 4 0 c 1 N a g 0 0 2 x c 4 0 0 y c 4 0 0 b g 0 0 1 y c 4 0 0 c g 0 0 1 z c 4 0 0 d g 0 0 0"
    program = f"""
      local frame = call.frame("{frame}")
      for i = 1, 4 do
        for j = 1, 4 do
          say(call.share_bucket(frame, i, j) and 1 or 0)
        end
      end"""
    assert lua(FILES, program) == "1 1 0 0 1 1 0 0 0 0 1 0 0 0 0 1"


def test_a_waiting_call_is_read_as_it_was_written(lua: Lua) -> None:
    """By its attempt: replica and number; nothing is known of one whose frame is unknown."""
    program = """
      local attempt = call.attempt("replica-00000001", 123456789012)
      say(attempt, call.owner(attempt))
      local record = call.record({
        flow = "flow", frame = frame, enqueued = 11, deadline = 22, priority = 3, share = 44,
        costs = { 5, 6, 7, 8, 9, 1 }, tries = true,
      })
      local function frame_of(name) return name == "NAME" and frame end
      local head = call.recall(attempt, record, frame_of)
      say(head.attempt, head.owner, head.n, head.flow, head.enqueued, head.deadline, head.priority, head.share)
      say(head.costs, head.frame == frame, head.class, head.tries)
      say(call.recall(attempt, record, function() return false end))"""
    attempt = "replica-00000001-123456789012"
    head = f"{attempt} replica-00000001 123456789012 flow 11 22 3 44 5 6 7 8 9 1 . true lane.tier true"
    assert lua(FILES, SHOW + program) == f"{attempt} replica-00000001 123456789012 {head} nil"


def test_512_frames_are_remembered_and_with_the_next_all_are_read_anew(lua: Lua) -> None:
    """And so again after as many."""
    program = f"""
      local function others(first, last)
        for n = first, last do
          call.frame("P 0 0 c 1 N" .. order.text(n))
        end
      end
      local frame = call.frame("{FRAME}")
      others(1, 511)
      say(call.frame("{FRAME}") == frame)
      others(512, 512)
      local again = call.frame("{FRAME}")
      say(again == frame)
      others(1, 510)
      say(call.frame("{FRAME}") == again)
      others(511, 511)
      say(call.frame("{FRAME}") == again)"""
    assert lua(FILES, program) == "true false true false"


def test_a_window_whose_amount_is_found_out_says_where_it_begins(lua: Lua) -> None:
    """It is a window like any other, and what stands behind it is read where it begins."""
    program = """
      local frame = call.frame("P 0 2 l.t 1000 NAME a:x l 90 100 60000 45 9 60 2 b:x c 4 0 0")
      for _, l in ipairs(frame.commons) do
        say(l.id, l.kind, l.learned or "-", l.amount, l.w, l.length, l.idle or "-", l.busy or "-", l.start or "-",
          l.least or "-")
      end"""
    assert lua(FILES, SHOW + program) == "a:x w true 90 100 60000 45 9 60 2 b:x c - 4 0 0 - - - -"
