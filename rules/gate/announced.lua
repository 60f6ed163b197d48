-- The amount a bucket really has, where the upstream says that it is smaller than ours (limiter.md 13). Law: a smaller
-- one holds at once; a larger one when it has been said for one window and nothing smaller meanwhile; never above N,
-- which bucket.amount sees to. What nobody has said for an hour, or two windows, holds no more.
--
-- Stored: `l` bucket -> "amount at life up since": what holds, when that was last said and for how long it is believed;
-- and a larger one, and since when it has been said (0 0: none). Nothing is read while nothing is announced
-- (`this.announced`).
local announced = {}
do
  local max, text = math.max, order.text
  local LEAST_LIFE = 3600000
  local known, changed

  function announced.begin()
    known, changed = {}, {}
  end

  local function recall(id)
    local one = known[id]
    if one == nil then
      local amount, at, life, up, since =
        string.match(store.texts("l", { id })[1] or "", "^(%d+) (%d+) (%d+) (%d+) (%d+)$")
      one = amount and {
        amount = tonumber(amount), at = tonumber(at), life = tonumber(life), up = tonumber(up), since = tonumber(since),
      } or false
      known[id] = one
    end
    return one and this.now - one.at < one.life and one or false
  end

  -- What holds for a bucket, and until when if nobody says it again; nil: nothing was announced.
  function announced.amount(id)
    if this.announced <= this.now then
      return nil
    end
    local one = recall(id)
    if one then
      return one.amount, one.at + one.life
    end
    return nil
  end

  -- The upstream says that a bucket has `amount`; `length`: of its window. Returns true when more may go than before.
  function announced.say(id, amount, length)
    local one = this.announced > this.now and recall(id) or false
    local grown = false
    if not one or amount <= one.amount then
      one = { amount = amount, up = 0, since = 0 }
    elseif one.up == 0 or amount < one.up then
      -- the least of what is said meanwhile is what has been true all the time
      one.up, one.since = amount, one.up == 0 and this.now or one.since
    elseif this.now - one.since >= length then
      one.amount, one.up, one.since, grown = one.up, amount > one.up and amount or 0, this.now, true
    end
    one.at, one.life = this.now, max(LEAST_LIFE, 2 * length)
    known[id], changed[id] = one, true
    this.announced = max(this.announced, one.at + one.life)
    return grown
  end

  function announced.save()
    local values = {}
    for id in pairs(changed) do
      local one = known[id]
      values[#values + 1], values[#values + 2] = id, table.concat({
        text(one.amount), text(one.at), text(one.life), text(one.up), text(one.since),
      }, " ")
    end
    if #values > 0 then
      store.put("l", values)
      store.expire("l", this.announced - this.now + LEAST_LIFE)
    end
  end
end
