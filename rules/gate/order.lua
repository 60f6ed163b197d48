-- Numbers as text, and the one order of things. Law: nothing here depends on the host (limiter.md 3.1).
local order = {}
do
  local format, byte, min = string.format, string.byte, math.min

  -- Later than any time: the largest integer a double holds exactly.
  order.FAR = 9007199254740991

  -- The only way a number becomes text: tostring prints 14 digits on both hosts.
  function order.text(n)
    return format("%.0f", n)
  end

  -- Bytes, not `<`: that one follows the locale of the process.
  function order.less(a, b)
    if a == b then
      return false
    end
    for i = 1, min(#a, #b) do
      local x, y = byte(a, i), byte(b, i)
      if x ~= y then
        return x < y
      end
    end
    return #a < #b
  end

  -- (score, member), as Redis orders a sorted set.
  function order.before(score_a, a, score_b, b)
    if score_a ~= score_b then
      return score_a < score_b
    end
    return order.less(a, b)
  end
end
