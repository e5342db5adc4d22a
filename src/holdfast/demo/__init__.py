"""The demo: a town whose truth is known goes through Holdfast, and the demo marks Holdfast's work.

`worlds` and `digits` make the data, `train` is the user's script, `operator` decides as a person would, `play` runs the days,
`story` plays them through the commands and HTTP, `inprocess` by function calls, `scoreboard` marks, `show` tells it.
"""
