"""How exact and how fast the trees are, beside the models' own libraries and what else compiles them.

`forests` trains what is measured, `peer` runs the other sides in an environment of their own (`.bench/trees`), `clock` measures,
and `__main__` writes the table.
"""
