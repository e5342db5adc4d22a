"""The nouns: what Holdfast talks about, as frozen values without I/O, framework or clock.

Read them in the order of a model's life: contract, profile, release, deployment, prediction, alarm; `ports` lists what
the outside world must offer.
"""
