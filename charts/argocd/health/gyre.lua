-- Health of every kind of gyre.dev, from the conditions that all of them carry.
-- Argo CD calls it with the global `obj`.
local hs = {status = "Progressing", message = "Gyre has not looked at it yet"}
if obj.status == nil or obj.status.conditions == nil then
  return hs
end
local generation = obj.metadata.generation or 0
local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
local ready, stalled = found["Ready"], found["Stalled"]
if ready == nil then
  return hs
end
hs.message = ready.reason .. ": " .. (ready.message or "")
if (obj.status.observedGeneration or 0) < generation then
  hs.message = "Gyre has not looked at generation " .. generation .. " yet"
elseif obj.spec ~= nil and (obj.spec.paused == true or obj.spec.suspend == true) then
  hs.status = "Suspended"
elseif ready.status == "True" then
  hs.status = "Healthy"
elseif stalled ~= nil and stalled.status == "True" then
  hs.status = "Degraded"
end
return hs
