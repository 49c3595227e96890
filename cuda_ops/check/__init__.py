"""Are the operators right, repeatable and fast on this device? `python -m cuda_ops.check`."""
