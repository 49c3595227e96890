"""Interleaving, medians, and what the tables derive from them."""

from __future__ import annotations

import time

import pytest
import torch

from benchmarks.measure import Case, Meter, Row, using_threads
from benchmarks.options import parse
from benchmarks.report import pivot


def test_contestants_take_turns_and_the_median_counts():
    calls = []
    meter = Meter(warmup=1, runs=3, tell=lambda line: None)

    def slow() -> None:
        calls.append("slow")
        time.sleep(0.5 if calls.count("slow") in (1, 2) else 0.02)  # warm-up, and one outlier

    meter.measure(Case("t", "w", "n", 1), {"slow": slow, "fast": lambda: calls.append("fast")})
    assert calls == ["slow", "fast"] * 4
    slow_row, fast_row = meter.rows
    assert 20 <= slow_row.milliseconds < 300 and slow_row.fastest <= slow_row.milliseconds
    assert slow_row.cores < 0.9  # it slept
    assert fast_row.milliseconds < slow_row.milliseconds


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), using_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before


def test_the_table_states_fraction_time_per_100k_and_ratio():
    """20 GFLOP in 100 ms are 200 GFLOP/s: half of 400. 100 ms for 50k are 200 ms for 100k."""
    case = Case("title", "indoor", "n", 2, gflop=20.0, items=50_000)
    times = {"kernels": 100.0, "reference": 400.0, "spconv": 250.0, "baseline": 10.0}
    rows = [Row(case, name, ms, ms, 2.0) for name, ms in times.items()]
    other = Row(Case("title", "lidar", "n", 2), "kernels", 1.0, 1.0, 2.0)
    cells = pivot("title", [*rows, other], {2: 400.0})
    named = [dict(zip(cells.header, line, strict=True)) for line in cells.rows]
    assert named[0]["GFLOP/s"] == "200" and named[0]["of peak"] == "50 %"
    assert named[0]["ms per 100k"] == "200.00"
    assert named[0]["best other / kernels"] == "2.50"  # an instruction set is no rival
    assert named[1]["spconv ms"] == named[1]["of peak"] == named[1]["best other / kernels"] == "-"


@pytest.mark.parametrize(
    "argument",
    ["thread=1", "threads=0", "threads=x", "workloads=moon", "contestants=me", "out=a.txt", "x"],
)
def test_wrong_arguments_are_refused(argument):
    with pytest.raises(ValueError, match=r"got|must"):
        parse([argument], {})
