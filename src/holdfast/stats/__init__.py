"""Statistics: numbers in, numbers out. No I/O, no framework, no clock; randomness only from a handed-in generator.

Read `counts` first (a window of rows becomes integers per column), then `scores` (the questions asked of them),
`sequential` (tests that may be looked at for ever), `baseline` and `stream` (the reference as a yardstick, and the step
from window to window), `panel` (all monitors under one false-alarm budget) and `replay` (whether the reference's own
history earns the stated rate; `calibration` is its report). `change` dates a change and tells sudden from gradual.
"""
