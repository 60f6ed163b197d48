"""All I/O: sockets, Redis, files, clock, signals. The rooms, in the order a call meets them:

cli/          one small file per verb; imports the heavy parts only when the verb needs them
settings      flags and environment -> one frozen Settings; the only reader of the environment
app           builds every object once, wires, starts, drains on SIGTERM
listener      the front door: reverse, forward and decrypted calls become a Call; strict about the head
door          one client connection: bounds on its head, bodies that break, an end that lets the answer arrive
message       what is kept of a parsed request head
call          a call as the corridor sees it: head, body still on the wire, answer;  head: judges a request head
tunnel        CONNECT: intercept with our CA, relay blindly, or deny; never decides which
websocket     its handshake, on both sides of us;  what follows passes through a tunnel
clients       who is calling: token -> client, user, tier
exchange      the one straight line of a call;  errand: what a call carries along it
measure       the bounded look at a body, and the facts the rules plan with;  counting: what it costs
exposure      which policies may be in force where others can reach us
egress        hosts outside the catalogue: which may be reached, and on which port
outgoing      the head a call leaves with;  credentials: found, taken out, written
departure     how a call leaves: with its body, and while its grant is valid
shedding      what is not taken on any more when memory runs short, or too many calls wait
refusal       what the gate's refusals say;  redaction: a key that an upstream echoes is hidden
lessons       what a reply teaches is told to the gate;  streak: refusals in a row, and for how many models
gate          acquire, settle, refund, rest: the gate as the others see it
ticker        when a tick is sent, and to which host: group commit, timers, heartbeat, failover
deadlines     when waiting calls have waited long enough
keyring       the states of the pools' keys, for metrics, log and admin port
words         what a line and the store have to tell one another of keys and learned limits
session       what the gate's host knows of a line, and what it has yet to be told
learning      what upstreams said of our buckets, on its way to the store
sight         what the store last said of each bucket: where the fallback begins
line          one service's calls in this process: who waits, what is in flight, what the next tick must say
redis_host    runs the gate's script on Redis; the only importer of redis;  store.py: when it is away
patience      a time-out that does not count the time in which we stood still
upstream      sends a call once, hands back the answer as it comes;  faults: what can go wrong on the way
pool          connections that are kept;  dialer: makes them;  wire: one of them;  framing: heads on it
addresses     which addresses may be dialled, checked on the address that is dialled
stream        relays bytes past the taps that find usage, and takes out what only we asked for
headers       hop-by-hop, Via, control headers: functions on header lists
configfile    where the configuration stands, and how its files are read
reload        watches config and secrets, swaps the policy whole; a bad file changes nothing
admin/        health, metrics, status: its own port, its own server
metrics, log, errors, tasks
onboarding    what a worker sets so that its calls come here;  trust: the files that make it trust our leaves
child         a command in the foreground, for `headgate run`;  companion: a private Headgate for it
outlook       what would happen to a call, without making it
probe         asking a Headgate from outside: is it one, is it ready
"""
