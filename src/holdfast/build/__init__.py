"""Build: a trained model becomes a release: converted, proven equal, profiled, audited, described."""
