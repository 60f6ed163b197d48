"""rules/gate/tick.lua by itself: what it reads, what it tells the other files, and what it keeps."""

from __future__ import annotations

import pytest

from .modules import Lua

FILES = (
    "this",
    """
    local notes, answers = {}, {}
    local function show(value)
      if type(value) ~= "table" then
        return type(value) == "number" and order.text(value) or tostring(value)
      elseif value.name then
        return value.name
      end
      local out, names = {}, {}
      for name in pairs(value) do
        names[#names + 1] = name
      end
      table.sort(names)
      for _, name in ipairs(names) do
        out[#out + 1] = (type(name) == "string" and name .. "=" or "") .. show(value[name])
      end
      return "{" .. table.concat(out, ",") .. "}"
    end
    local function room(name)
      return setmetatable({}, { __index = function(_, what)
        local called = name .. "." .. what
        return function(...)
          local words = { called }
          for i = 1, select("#", ...) do
            words[#words + 1] = show((select(i, ...)))
          end
          notes[#notes + 1] = table.concat(words, " ")
          local answer = answers[called]
          if type(answer) == "function" then
            return answer(...)
          end
          return answer
        end
      end })
    end
    local agreed, announced, bucket, rests, pool, promise = room("agreed"), room("announced"), room("bucket"),
      room("rests"), room("pool"), room("promise")
    local ranked, fair, place, rivals, frames, draws = room("ranked"), room("fair"), room("place"), room("rivals"),
      room("frames"), room("draws")
    local line, dispatch, answer, leaving, told = room("line"), room("dispatch"), room("answer"), room("leaving"),
      room("told")
    """,
    "call",
    "tick",
)
REPLICA = "a000000000000000"
PROGRAM = f"""
  local REPLICA, NOW = "{REPLICA}", 5000000
  answers["promise.in_line"], answers["rests.count"], answers["bucket.freed"] = 0, 6, {{}}
  answers["leaving.forget"] = function() return {{}}, true, false end
  answers["leaving.cancel"], answers["answer.all"] = {{}}, {{}}
  answers["place.next_wake"] = order.FAR
  answers["told.take"] = function(op, argv, at) return at + 2 end
  local arrived
  answers["dispatch.run"] = function(arrivals)
    arrived = arrivals
  end
  local function ops()
    local out = {{}}
    for _, one in ipairs(notes) do
      if not string.match(one, "%.begin") and not string.match(one, "%.save") then
        out[#out + 1] = one
      end
    end
    notes = {{}}
    return table.concat(out, ", ")
  end
  local seq = 0
  local function run(...)
    seq = seq + 1
    return tick.run("rl:{{t}}:meta", {{ REPLICA, "1", order.text(seq), "1000", "0", ... }}, NOW)
  end
"""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("S 11 12 13 14 15 16 17", "bucket.settle 11 12 13 14 15 16 17"),
        ("V 11 12 13 14 15 16 17 18 19 20 21", "bucket.told 11 12 13 14 15 16 17 18 19 20 21"),
        ("N 11 12 13", "bucket.announce 11 12 13"),
        ("G 11 12", f"bucket.state {REPLICA} 11 12"),
        ("F 11 12 13", "line.correct 12 11 13"),
        ("B 11", "told.take B ARGV AT"),
        ("C 11", "leaving.cancel REPLICA {11}"),
        ("C 11 C 12", "leaving.cancel REPLICA {11,12}"),
    ],
)
def test_an_operation_reads_its_own_words(lua: Lua, words: str, told: str) -> None:
    """From wherever it stands, and the next one begins where it ends; all words differ."""
    program = f"""
      answers["told.take"] = function(op, argv, at)
        notes[#notes] = "told.take " .. op .. " ARGV AT"
        return at + 2
      end
      run()
      this.waiting = 1
      store.put("meta", {{ "waiting", 1 }})
      ops()
      run("G", "bucket", "7", {", ".join(f'"{word}"' for word in words.split())}, "G", "behind", "8")
      say(ops())"""
    told = told.replace("REPLICA", REPLICA)
    before, behind = (f"bucket.state {REPLICA} {word}" for word in ("bucket 7", "behind 8"))
    assert lua(FILES, PROGRAM + program).split(", ")[:3] == [before, told, behind]


def test_a_correction_moves_no_tag_where_nobody_waits(lua: Lua) -> None:
    """Before somebody waits everybody got what he asked for (fair.lua)."""
    assert "line.correct" not in lua(FILES, PROGRAM + 'run("F", "11", "12", "13")\nsay(ops())')


def test_a_call_arrives_with_all_that_was_said_of_it(lua: Lua) -> None:
    """Its frame names the amounts first; calls that leave go together until something else is told."""
    program = """
      local call = { "4", "9", "3", "70", "2", "100", "flow", "2", "33", "again" }
      call[#call + 1] = "P 0 2 l.t 1 NAME x c 9 0 0 y c 8 0 0"
      local argv = { "C", "4", "A", unpack(call, 2) }
      for _, word in ipairs({ "1", "2", "C", "5", "G", "x", "1", "C", "6" }) do
        argv[#argv + 1] = word
      end
      run(unpack(argv))
      say(ops())"""
    head = "again=again,attempt=REPLICA-000000000009,class=l.t,costs={1,2},deadline=5000070,enqueued=4999997"
    rest = "flow=flow,frame=NAME,keeps_place=false,most_waiting=100,n=9,observed=true,owner=REPLICA,priority=2"
    told = [
        "leaving.forget REPLICA 500",
        "bucket.forget REPLICA",
        "agreed.name {x,y}",
        "leaving.cancel REPLICA {4,5}",
        "bucket.state REPLICA x 1",
        "leaving.cancel REPLICA {6}",
        f"dispatch.run {{{{{head},{rest},share=33,tries=false}}}}",
    ]
    assert lua(FILES, PROGRAM + program) == f"rests.count, {', '.join(told)}, promise.in_line, answer.all".replace(
        "REPLICA", REPLICA
    )


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (0, "false false false"),
        (1, "true false false"),
        (2, "false true false"),
        (3, "true true false"),
        (4, "false false true"),
        (7, "true true true"),
    ],
)
def test_a_call_says_of_itself_three_things(lua: Lua, flags: int, says: str) -> None:
    """Whether it keeps a place that it had, is only observed, may be sent again; and nobody came before the clock."""
    program = f"""
      local frame = "P 0 0 l.t 1000 NAME"
      run("A", "9", "5000001", "70", "{flags}", "100", "flow", "2", "33", "again", frame)
      local one = arrived[1]
      say(one.keeps_place, one.observed, one.tries, one.enqueued)"""
    assert lua(FILES, PROGRAM + program) == f"{says} 0"


def test_a_call_whose_time_is_up_leaves_and_is_told_when_to_come_back(lua: Lua) -> None:
    """As one that keeps its place and would have waited; one that is not there is told nothing."""
    program = """
      answers["leaving.cancel"] = { "b:one" }
      answers["line.head"] = function(attempt)
        return attempt == call.attempt(REPLICA, 4) and { n = 4 } or nil
      end
      run("E", "4", "mark", "E", "5", "other", "G", "x", "1")
      say(ops())"""
    told = [
        f"line.head {REPLICA}-000000000004",
        f"leaving.cancel {REPLICA} {{4}}",
        "dispatch.wake b:one",
        "dispatch.expire {again=mark,keeps_place=true,n=4,patient=true}",
        f"line.head {REPLICA}-000000000005",
        f"bucket.state {REPLICA} x 1",
    ]
    assert ", ".join(told) in lua(FILES, PROGRAM + program)


META = [
    "epoch",
    "t",
    "grants",
    "waiting",
    "blocked",
    "pushed",
    "seen",
    "patience",
    "x",
    "promised",
    "made",
    "kept",
    "ver",
    "said",
]


def test_what_is_known_of_the_service_is_read_and_written_under_its_names(lua: Lua) -> None:
    """All of it differs; what a tick changes is written as it is then."""
    given = dict(zip(META, range(5_000_100, 5_001_500, 100), strict=True))
    given |= {"seen": 5_000_001, "patience": 5_000_002}
    program = f"""
      local given = {{ {", ".join(f'"{name}", {number}' for name, number in given.items())} }}
      store.put("meta", given)
      store.put("rep:" .. REPLICA, {{ "inc", 1, "seq", 0, "reply", "-", "x", 0 }})
      answers["dispatch.run"] = function()
        say(this.now, this.grants, this.waiting, this.blocked, this.pushed, this.promised, this.made, this.kept)
        say(this.version, this.announced)
        for _, name in ipairs({{ "grants", "waiting", "blocked", "pushed", "promised", "made", "kept", "version" }}) do
          this[name] = this[name] + 1
        end
        this.announced = this.announced + 1
      end
      run()
      for _, name in ipairs({{ {", ".join(f'"{name}"' for name in META)} }}) do
        say(store.numbers("meta", {{ name }})[1])
      end"""
    now = given["t"]
    seen = [now, *[given[name] for name in ("grants", "waiting", "blocked", "pushed", "promised", "made", "kept")]]
    seen += [given["ver"], given["said"]]
    written = given | {name: given[name] + 1 for name in ("grants", "waiting", "blocked", "pushed", "promised")}
    written |= {name: given[name] + 1 for name in ("made", "kept", "ver", "said")}
    written |= {"seen": now, "x": now}
    assert lua(FILES, PROGRAM + program).split() == [str(one) for one in (*seen, *written.values())]


def test_of_a_new_service_nothing_is_known_but_what_rests(lua: Lua) -> None:
    """That outlives the rest (rests.lua)."""
    program = """
      answers["dispatch.run"] = function()
        say(this.now, this.grants, this.waiting, this.blocked, this.pushed, this.promised, this.made, this.kept)
        say(this.version, this.announced)
      end
      run()
      say(store.numbers("meta", { "seen", "patience" }))"""
    assert lua(FILES, PROGRAM + program) == "5000000 0 0 0 0 0 0 6 0 0 5000000 0 ."


@pytest.mark.parametrize(
    ("waiting", "in_line", "wake", "cut", "says"),
    [
        (0, 0, "5000007", False, "-1 0 0"),
        (3, 1, "5000007", False, "7 1 2"),
        (3, 1, "4999999", False, "0 1 2"),
        (3, 3, "order.FAR", False, "-1 1 0"),
        (3, 4, "5000001", False, "1 1 0"),
        (3, 0, "order.FAR - 1", False, "9007199249740990 1 3"),
        (3, 0, "order.FAR", True, "0 1 3"),
    ],
)
def test_a_reply_tells_when_to_look_again_and_how_many_wait(
    lua: Lua, waiting: int, in_line: int, wake: str, cut: bool, says: str
) -> None:
    """Between them the replica's rank behind one that is alive; calls that stand for promises do not count."""
    program = f"""
      store.zput("hb", {{ "0", NOW - 10000, "00", NOW - 10001 }})
      answers["promise.in_line"], answers["place.next_wake"] = {in_line}, {wake}
      answers["answer.all"] = {{ 2, 9, 2, -1 }}
      answers["dispatch.run"] = function()
        this.waiting = {waiting}
        return {str(cut).lower()}
      end
      say(run())"""
    next_in, rank, left = says.split()
    assert lua(FILES, PROGRAM + program) == f"0 0 20480000002 {next_in} {rank} 2 {left} 0 2 9 2 -1"


BEGUN = [
    "agreed",
    "announced",
    "answer",
    "bucket",
    "dispatch",
    "draws",
    "fair",
    "frames",
    "line",
    "place",
    "pool",
    "promise",
    "ranked",
    "rests",
    "rivals",
]
SAVED = [
    "agreed",
    "announced",
    "answer",
    "bucket",
    "draws",
    "fair",
    "line",
    "place",
    "pool",
    "promise",
    "ranked",
    "rests",
    "rivals",
]


def test_every_file_begins_anew_in_each_tick_and_is_saved_at_its_end(lua: Lua) -> None:
    """One that only asks, or is answered in advance, saves nothing."""
    program = """
      local function all(what)
        local out = {}
        for _, one in ipairs(notes) do
          out[#out + 1] = string.match(one, "^(%a+)%." .. what .. "$")
        end
        table.sort(out)
        say(table.concat(out, " "), "|")
      end
      run()
      all("begin")
      all("save")
      notes = {}
      tick.run("rl:{t}:meta", { REPLICA, "1", "0", "1000", "0" }, NOW)
      all("begin")
      all("save")
      notes = {}
      tick.run("rl:{t}:meta", { REPLICA, "1", "1", "1000", "0" }, NOW)
      all("save")"""
    begun, saved = " ".join(BEGUN), " ".join(SAVED)
    assert lua(FILES, PROGRAM + program) == f"{begun} | {saved} | {begun} |  |  |"


@pytest.mark.parametrize(
    ("seq", "op", "says"), [("0", "L", "the list"), ("0", "C", "0 0 0 -1"), ("1", "L", "0 0 20480000002 -1")]
)
def test_a_tick_that_only_asks_for_it_is_told_the_states_of_keys(lua: Lua, seq: str, op: str, says: str) -> None:
    """Any other is a tick."""
    program = f"""
      answers["rests.list"] = "the list"
      say(tick.run("rl:{{t}}:meta", {{ REPLICA, "1", "{seq}", "1000", "0", "{op}", "4" }}, NOW))"""
    assert lua(FILES, PROGRAM + program).startswith(says)


def test_a_replica_with_too_many_calls_is_forgotten_over_several_ticks(lua: Lua) -> None:
    """What it was waiting for is looked at in each; each is saved, and it is asked to state itself once more."""
    program = """
      local left = 2
      answers["leaving.forget"] = function()
        left = left - 1
        return { "b:one" }, left == 0, true
      end
      store.put("meta", { "epoch", 77, "t", NOW - 1 })
      for _ = 1, 2 do
        seq = 0
        local said, saved = run(), 0
        for _, one in ipairs(notes) do
          saved = saved + (string.match(one, "%.save$") and 1 or 0)
        end
        say(said, "|", ops(), "|", saved)
        say(store.numbers("meta", { "t" }), store.numbers("rep:" .. REPLICA, { "inc" }), "|")
        NOW = NOW + 1
      end"""
    forgets = f"leaving.forget {REPLICA} 500, dispatch.wake b:one"
    said = [part.strip() for part in lua(FILES, PROGRAM + program).split("|")]
    assert said[0] == "0 1 77 -1 0 0 0 0"
    assert said[1] == f"rests.count, {forgets}, place.wake_by b:one 5000000"
    assert said[2] == f"{len(SAVED)} 5000000 . false ."
    assert said[3].startswith("0 0 77 -1")
    assert said[4].startswith(f"{forgets}, place.wake_by b:one 5000001, bucket.forget {REPLICA}")
    assert said[5] == f"{len(SAVED)} 5000001 . 1 ."


def test_a_silent_replica_goes_when_all_it_had_is_gone(lua: Lua) -> None:
    """Until then it stays among those that are heard of, and so does what is known of it, unless it had nothing."""
    program = """
      answers["leaving.forget"] = function(replica)
        if replica == "dead" then
          had = had - 1
        end
        return {}, replica ~= "dead" or had < 0, false
      end
      answers["bucket.forget"] = function(replica)
        return replica == "dead" and holds
      end
      for _, case in ipairs({ { 0, false }, { 0, true }, { 1, false } }) do
        had, holds = case[1], case[2]
        store.zput("hb", { "dead", NOW - 10000 })
        store.put("rep:dead", { "seq", 5 })
        run()
        say(store.zscores("hb", { "dead" })[1], store.numbers("rep:dead", { "seq" })[1])
      end
      run()
      say(store.zscores("hb", { "dead" })[1], store.numbers("rep:dead", { "seq" })[1])"""
    says = "false 5 false false 4990000 5 false 5"
    assert lua(FILES, PROGRAM + "local had, holds\n" + program) == says
