-- Numbers as text, and the one order of things. Law: nothing here depends on the host (limiter.md 3.1).
local order = {}
do
  local format, byte, sub = string.format, string.byte, string.sub

  -- Later than any time: the largest integer a double holds exactly.
  order.FAR = 9007199254740991

  -- The only way a number becomes text: tostring prints 14 digits on both hosts.
  function order.text(n)
    return format("%.0f", n)
  end

  -- Bytes, not `<`: that one follows the locale of the process. What is compared most, attempts, begins alike, so equal
  -- parts are passed over sixteen bytes at a time and the rest is looked at four at a time.
  function order.less(a, b)
    if a == b then
      return false
    end
    local i = 1
    while sub(a, i, i + 15) == sub(b, i, i + 15) do
      i = i + 16
    end
    while true do
      local a1, a2, a3, a4 = byte(a, i, i + 3)
      local b1, b2, b3, b4 = byte(b, i, i + 3)
      if a1 ~= b1 then
        return (a1 or -1) < (b1 or -1)
      elseif a2 ~= b2 then
        return (a2 or -1) < (b2 or -1)
      elseif a3 ~= b3 then
        return (a3 or -1) < (b3 or -1)
      elseif a4 ~= b4 then
        return (a4 or -1) < (b4 or -1)
      end
      i = i + 4
    end
  end

  -- (score, member), as Redis orders a sorted set.
  function order.before(score_a, a, score_b, b)
    if score_a ~= score_b then
      return score_a < score_b
    end
    return order.less(a, b)
  end
end
