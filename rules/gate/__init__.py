"""The gate's algorithm: one Lua text, run by Redis in a cluster and by lupa in this process (limiter.md 3).

order         numbers as text, and the one order of things
store_redis   storage over redis.call        } the two adapters, the only files that differ
store_tables  storage over Lua tables        } between the hosts, with their entries
this          what one tick knows
window        N per W as a sliced sliding window
others        what others use of it, by what the upstream says
pace          how fast a window is spent
gauge         calls in flight, a part per replica
twin          the upstream's token bucket, mirrored
quota         N per calendar day or month
agreed        which N holds while configurations differ
learned       how much of a window may be used where nobody publishes its N
announced     which N holds because the upstream says so
bucket        the buckets a tick touches: read once, written once
call          a waiting call as it travels
frames        what the records of many waiting calls share
ranked        sorted sets as they stand within a tick
fair          whose turn it is: start tags and virtual times
place         where flows stand, and when to look there
rivals        how much goes before a call that comes now
draws         which pools draw on a bucket
line          who waits: flows, and their calls in order
leaving       calls that leave the line together
rests         which keys, groups and models rest, and why
pool          which key may serve
promise       what refused calls were told, and the room kept for them
decision      whether a call fits, and when it would
answer        what a tick says, and what it charges for it
dispatch      grant, park or refuse, the smallest start tag first
told          what replies and operators say of keys and of learned limits
tick          one run: guard, operations, reply
entry_redis   how Redis calls tick;  entry_tables: how this process does

engine.py     the host in this process;  wire.py: operations and replies as both hosts speak them
standing.py   lanes and dominant shares, as the wire carries them;  explain.py: the tick that only asks
resting.py    which keys rest, as the wire carries it;  hearsay.py: what an upstream says of its limits
lateness.py   how long a grant may be on its way
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import NamedTuple

_ALGORITHM = (
    "this",
    "window",
    "others",
    "pace",
    "gauge",
    "twin",
    "quota",
    "agreed",
    "learned",
    "announced",
    "bucket",
    "call",
    "frames",
    "ranked",
    "fair",
    "place",
    "rivals",
    "draws",
    "line",
    "leaving",
    "rests",
    "pool",
    "promise",
    "decision",
    "answer",
    "dispatch",
    "told",
    "tick",
)

REDIS_FILES = ("order", "store_redis", *_ALGORITHM, "entry_redis")
TABLES_FILES = ("order", "store_tables", *_ALGORITHM, "entry_tables")

LIBRARY_PREFIX = "headgate_"
"""Every library of ours in Redis is called this and a digest of its text."""

_LIBRARY = """#!lua name={name}
local tick
local function make()
{files}
end
redis.register_function("{name}", function(keys, args)
  tick = tick or make()
  return tick(keys, args)
end)
"""
"""A library of Redis (FUNCTION LOAD) around the files. They are run at the first tick, since a library that is being
loaded may call nothing, and what they make is kept: EVALSHA would make their functions anew for each tick and leave
them to the garbage collector (tests.bench.script prints what that costs). A function without flags is refused whole
when memory is exhausted (threats 4.4)."""


class Library(NamedTuple):
    """What Redis is given to load: the name of the library, which is also that of its one function, and the text."""

    name: str
    source: str


def text(name: str) -> str:
    """One Lua file of this package."""
    return resources.files(__name__).joinpath(f"{name}.lua").read_text(encoding="utf-8")


def redis_library(entry: str | None = None) -> Library:
    """The whole script as FCALL runs it. `entry`: what stands for entry_redis, in a test's build.

    Two releases on one Redis have two names, so that neither runs the other's text.
    """
    *files, own_entry = [text(name) for name in REDIS_FILES]
    joined = "\n".join([*files, own_entry if entry is None else entry])
    name = LIBRARY_PREFIX + hashlib.sha256(joined.encode()).hexdigest()[:16]
    return Library(name, _LIBRARY.format(name=name, files=joined))


def tables_script() -> str:
    """The whole chunk as the host in this process loads it."""
    return "\n".join(text(name) for name in TABLES_FILES)
