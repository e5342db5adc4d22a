"""Watching what is served: windows in, alarms out.

`runner` judges every complete window once with the panel that `watch` holds; `life` opens, follows and closes alarms; `dating`
and `onset` say since when and until when, `diagnosis` what it means and what to do.
"""
