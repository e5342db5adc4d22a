"""How fast one serving process answers, beside the servers that people use for this, and beside what is possible at all.

`models` builds what is served, `servers` starts Holdfast and its peers (`peers/`, each in an environment of its own under
`.bench/`), `questions` says how each is asked, `load` asks, `duties` takes Holdfast's own work apart, and `report` writes
the table.
"""
