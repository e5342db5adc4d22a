"""`make bench`: serving, trees, a whole build, verifying; `make bench-serve` and `make bench-trees` have the peers."""

import sys

from bench.adult import main as adult
from bench.serve.__main__ import main as serve
from bench.trees.__main__ import main as trees
from bench.verify import main as verify

if __name__ == "__main__":
    sys.argv.insert(1, "--quick")
    serve()
    trees()
    adult()
    verify()
