"""Watching what is served: windows in, alarms out.

`runner.look` judges every complete window once and keeps alarms up to date; `watch` holds the panel of one release, `onset`
dates a change and finds its end, `diagnosis` says what it means and what to do.
"""
