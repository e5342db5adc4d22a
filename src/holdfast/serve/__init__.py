"""The data plane: request bytes in, an answer and its log record out. Plain functions, no network, no event loop.

`dataplane` is the only path of logged predictions; it works on an immutable `plan`, which `load` makes from the traffic plan,
or `shelf` where there are more models than memory.
`router` says which track answers, `clock` when that was, `records` what the log keeps, `replies` what the client reads, and
`metrics` counts, so that any process can tell what all did (`counts`).
"""
