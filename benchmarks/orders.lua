-- wrk: POST /orders with an id of its own in every request. `wrk ... -- TAG`, one thread.
local count, tag = 0, "order"

function init(args)
  tag = args[1] or tag
end

function request()
  count = count + 1
  local body = string.format(
    '{"id":"%s-%d","items":[{"sku":"A-100","qty":2,"price":5}],"customer":{"id":"c-1","email":"ann@example.org"}}',
    tag, count)
  return wrk.format("POST", nil, {["Content-Type"] = "application/json"}, body)
end
