"""Finished and unfinished runs: what their folders hold, side by side, and weighed."""
