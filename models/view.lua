-- Whether a view can be read: numbers, or nothing, where the gate counts with them. What somebody else wrote to could
-- otherwise stop a request that was admitted already.

local function is_number(text) return text and #text < 16 and string.find(text, '^%-?%d+$') end
local function is_number_or_nothing(text) return text == '' or is_number(text) end

local function is_sound(starts_ms, ends_ms, remaining, settled, max_per_purchase, max_per_user, dedicated)
  return is_number(starts_ms) and is_number_or_nothing(ends_ms) and is_number(remaining) and is_number(settled)
    and is_number_or_nothing(max_per_purchase) and is_number_or_nothing(max_per_user) and is_number(dedicated)
end
