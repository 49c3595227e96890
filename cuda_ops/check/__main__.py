"""`python -m cuda_ops.check [device=cpu|cuda] [out=FOLDER] [points=N] [--quick]`."""

from __future__ import annotations

import sys

from cuda_ops.check.run import main

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
