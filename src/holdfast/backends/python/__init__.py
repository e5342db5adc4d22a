"""Python releases: a model in its own locked environment and its own sandboxed process, asked over a socket.

venvs     environments made by uv from a lock, kept in the workspace
wire      what parent and child say to each other
worker    the child: opens the model and answers, in the model's environment
process   one child, as the parent holds it
runtime   the session: asks, and starts again what ended
"""
