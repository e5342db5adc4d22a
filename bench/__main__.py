"""`make bench`: speed of the serving path, as ratios in one run; `make bench-serve` has the peers."""

import sys

from bench.serve.__main__ import main

if __name__ == "__main__":
    sys.argv.insert(1, "--quick")
    main()
