"""Networks in turns: who runs when, ratios within a round, the rows of a real run."""

from __future__ import annotations

import json

import pytest

from benchmarks import turns


def test_all_run_before_any_runs_again(monkeypatch):
    clock, order = [0.0], []

    def call(name: str, seconds: float):
        def run() -> None:
            order.append(name)
            clock[0] += seconds

        return run

    monkeypatch.setattr(turns.time, "perf_counter", lambda: clock[0])
    calls = [[call("a0", 1.0), call("a1", 2.0)], [call("b", 3.0)]]
    assert turns.in_turns(calls, 3) == [[1000, 2000, 1000], [3000, 3000, 3000]]
    assert order == ["a0", "b", "a1", "b", "a0", "b"]


def test_a_slow_moment_does_not_change_the_ratio(monkeypatch):
    # The second round takes ten times as long for all: medians of times alone would not show it.
    monkeypatch.setattr(turns, "in_turns", lambda _, rounds: [[1.0, 10.0], [3.0, 30.0]])
    rows = turns.measure(["minkunet_m", "minkunet_m"], points=200, warmup=1, runs=2)
    assert [row["ratio"] for row in rows] == [1, 3] * 3
    assert [row["ms"] for row in rows] == [5.5, 16.5] * 3


def test_a_run_writes_every_phase(tmp_path, capsys):
    out = tmp_path / "turns.json"
    arguments = ["networks=minkunet_m,ptv1_m", "points=300", "runs=1", f"out={out}"]
    assert turns.main(arguments) == 0
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 6 and all(row["ms"] > 0 for row in rows)
    assert "training step" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argument", "told"),
    [("networks=minkunet", "minkunet34c"), ("runs=0", "runs"), ("size=3", "size")],
)
def test_wrong_arguments_are_told(argument, told, capsys):
    assert turns.main([argument]) == 2
    assert told in capsys.readouterr().out
