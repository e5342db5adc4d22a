"""Build: a trained model becomes a release: converted, proven equal, profiled, audited, described.

Begin with `pipeline`, which is the order of the steps; `python` is the same from fitted objects and data frames.
"""
