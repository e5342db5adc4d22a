"""Which processes run what: a `supervisor` starts serving `worker`s and one `keeper`, and each of them also runs alone.

Workers answer and log; the keeper counts, joins labels, judges, archives, and serves the control port. They share nothing but
files: the traffic plan, the prediction log, the database. The data plane never waits for the control plane.
"""
