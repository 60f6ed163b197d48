"""rules/gate/told.lua: what is told of keys and learned limits, among a tick's other operations."""

from __future__ import annotations

from rules.gate import resting

from .driver import Clock, Replica, block, call, charge, grants, key, lifted, turned
from .driver import said as rests
from .hidden import LIMIT
from .modules import Lua


def test_operations_of_every_kind_stand_side_by_side_in_a_tick(a: Replica, clock: Clock) -> None:
    """Each takes what is its own, and those behind it are read where they begin."""
    keys = [key(name, blocks=(f"k:{name}",)) for name in ("b", "r", "u", "o", "last")]
    reply = a.tick(
        block("k:b", 1000),
        rests("k:r", 1000, every=60_000),
        rests("k:u", 1000, every=60_000),
        lifted("k:u", "k:nobody"),
        resting.given(charge(LIMIT, scope="given"), 77, 0),
        turned("k:o", on=False),
        resting.refused(charge(LIMIT), 5),
        *[a.arrival(call(keys=keys, wait=0)) for _ in range(2)],
    )
    assert grants(reply) == [1, 2]
    assert sorted(granted.candidate for granted in reply.granted) == [2, 4]
    given = call(keys=[key("k", charge(LIMIT, scope="given"))])
    assert a.explain(given).rooms[0].amount == 77


def test_who_waits_looks_in_the_tick_that_tells_of_a_key(a: Replica, clock: Clock) -> None:
    """Lifted or turned on: not at the next look."""
    keys = [key("x", blocks=("k:x",))]
    for told in (lifted("k:x"), turned("k:x", on=True)):
        a.tick(rests("k:x", 60_000, every=60_000, known=True))
        assert grants(a.arrive(call(keys=keys, wait=600_000))) == []
        assert grants(a.tick(told)) == [a.count]


FILES = (
    """
    local said = {}
    local function notes(name)
      return function(...)
        local words = { name }
        for i = 1, select("#", ...) do
          local one = select(i, ...)
          words[#words + 1] = type(one) == "table" and table.concat(one, "+") or tostring(one)
          if type(one) == "table" and one.key then
            for _, field in ipairs({ "every", "known", "state", "status", "key", "model" }) do
              words[#words + 1] = tostring(one[field])
            end
          end
        end
        said[#said + 1] = table.concat(words, " ")
        return name == "lift" and select("#", ...) > 0 and (...)[1] == "5"
      end
    end
    local rests = { block = notes("block"), say = notes("say"), lift = notes("lift"), turn = notes("turn") }
    local dispatch, bucket = { wake_pools = notes("wake") }, { refused = notes("refused") }
    local learned = { give = notes("give") }
    """,
    "told",
)


def test_an_operation_reads_its_own_words(lua: Lua) -> None:
    """From wherever it stands; all words differ, and whoever waits for a key looks if one is back."""
    program = """
      for _, argv in ipairs({
        { "B", "3", "4" },
        { "R", "3", "4", "5", "1", "6", "7", "8", "9" },
        { "R", "3", "4", "5", "0", "6", "7", "8", "9" },
        { "U", "2", "5", "6" }, { "U", "2", "6", "5" }, { "U", "0" }, { "O", "3", "0" }, { "O", "3", "1" },
        { "X", "3", "4", "5", "6" }, { "H", "3", "4", "5", "6" },
      }) do
        local all = { "before", "x", "y", "z", "w" }
        for _, word in ipairs(argv) do
          all[#all + 1] = word
        end
        all[#all + 1] = "behind"
        said = {}
        say(all[told.take(argv[1], all, 6)], table.concat(said, ","))
      end
      local done, failure = pcall(told.take, "?", {}, 1)
      say(done, string.match(failure, "unknown operation"))"""
    assert lua(FILES, program).replace("behind ", "|")[1:].split(" |") == [
        "block 3 4",
        "say 3 4  5 true 6 7 8 9",
        "say 3 4  5 false 6 7 8 9",
        "lift 5+6,wake",
        "lift 6+5",
        "lift ",
        "turn 3 true,wake",
        "turn 3 false,wake",
        "refused 3 4 5 6",
        "give 3 4 5 6 false unknown operation",
    ]
