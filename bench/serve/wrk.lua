-- Asks the same question over and over and looks into every answer. The question comes as a Lua file named by the environment.
dofile(os.getenv("BENCH_QUESTION"))

right, wrong, example = 0, 0, ""

function response(status, _, body)
  if status == 200 then
    for n = 1, #needles do
      if not body:find(needles[n], 1, true) then status = 0 end
    end
  end
  if status == 200 then
    right = right + 1
  else
    wrong = wrong + 1
    example = body:sub(1, 300)
  end
end

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

local function quoted(text)
  return '"' .. text:gsub('[%c"\\\128-\255]', "?") .. '"'
end

function done(summary, latency, _)
  local answered, failed, said = 0, 0, ""
  for _, thread in ipairs(threads) do
    answered = answered + thread:get("right")
    failed = failed + thread:get("wrong")
    said = thread:get("example")
  end
  local e = summary.errors
  io.write(string.format(
    '\nBENCH {"right":%d,"wrong":%d,"example":%s,"broken":%d,"seconds":%.6f,"p50":%.4f,"p99":%.4f}\n',
    answered, failed, quoted(said), e.connect + e.read + e.write + e.timeout, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
