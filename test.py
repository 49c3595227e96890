"""Test a trained network: `python test.py run=<run folder>` (the same as `pc3d test`)."""

from pc3d.cli.test import main

if __name__ == "__main__":
    main()
