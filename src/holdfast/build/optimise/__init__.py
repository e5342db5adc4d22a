"""Optimise a release: variants of the converted model, each measured, and the cheapest that does what the user wants.

    steps -> search -> measure + judge -> choose

`steps` makes a variant's bytes, and the same bytes from the same model and reference rows anywhere. `measure` times it in a
process of its own, `judge` compares its answers with the converted model's on the reference, `choose` picks. The release
holds the recipe; what was measured is signed beside it.
"""
