"""The prediction log: written ahead of every answer; everything else is derived from it.

`log` appends and reads frames; `windows` cuts records into windows; `compact` turns the log into window counts
and `archive` into Parquet; `lookup` finds predictions again; `labels` joins the truth that arrives later.
"""
