-- Health of AgentSession, AgentPool, EnvTask and TrainingJob for Argo CD, by their conditions.
local status = obj.status or {}

local function is_true(type)
  for _, condition in ipairs(status.conditions or {}) do
    if condition.type == type and condition.status == "True" then
      return condition
    end
  end
end

local function is(health, condition)
  local message = condition.message
  if message == nil or message == "" then
    message = condition.reason
  end
  return { status = health, message = message }
end

if status.observedGeneration == nil or status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "The operator has not seen this generation yet." }
end

-- The first that is true decides. A session that ended without a solution has done what it was asked: it is healthy.
local order = {
  { "Stalled", "Degraded" },
  { "Failed", "Degraded" },
  { "Finished", "Healthy" },
  { "Complete", "Healthy" },
  { "Suspended", "Suspended" },
  { "Ready", "Healthy" },
  { "Reconciling", "Progressing" },
}
for _, each in ipairs(order) do
  local condition = is_true(each[1])
  if condition ~= nil then
    return is(each[2], condition)
  end
end
return { status = "Progressing", message = "Not ready yet." }
