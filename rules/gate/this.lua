-- What one tick knows: read once at its start, written once at its end. Law: the only state that all files share.
-- `ranks`: tags move in this tick, because somebody waits or several flows want to go at once. `asks`: nothing of this
-- tick takes effect. `kept`: scopes that rest until something is said of them; `version` changes with any of them.
local this = {
  now = 0, raw = 0, replica = "", share = 1000, waiting = 0, promised = 0, made = 0, grants = 0, blocked = 0, pushed = 0,
  ranks = false, asks = false, kept = 0, version = 0,
}
