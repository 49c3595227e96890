"""Are the operators right, repeatable and fast on the device at hand? `python -m cuda_ops.check`."""
