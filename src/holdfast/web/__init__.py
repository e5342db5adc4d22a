"""What the doors share: walls, errors over HTTP, pages with JSON twins, examples from a contract.

`site` is the control port's frame; `problems` is values only, so that the inference port can use it without a framework.
"""
