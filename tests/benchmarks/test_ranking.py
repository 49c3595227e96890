"""Statistics of `benchmarks.ranking`, against counts of pairs."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest

from benchmarks import ranking
from benchmarks.ranking import best_place_at, choose, main, precision_at, read_rows, report, tau
from tests.search.spaces import supernet

TRUTH = np.array([0.5, 0.9, 0.1, 0.7, 0.3, 0.8])
ESTIMATE = np.array([0.4, 0.6, 0.2, 0.3, 0.5, 0.7])


def test_tau_counts_pairs():
    signs = [
        np.sign((ESTIMATE[i] - ESTIMATE[j]) * (TRUTH[i] - TRUTH[j]))
        for i, j in combinations(range(6), 2)
    ]
    assert tau(ESTIMATE, TRUTH) == pytest.approx(sum(signs) / len(signs))
    assert tau(-TRUTH, TRUTH) == pytest.approx(-1)


def test_best_k():
    assert precision_at(2, ESTIMATE, TRUTH) == 1.0  # 1 and 5
    assert precision_at(3, ESTIMATE, TRUTH) == pytest.approx(2 / 3)  # 4 instead of 3
    assert best_place_at(1, ESTIMATE, TRUTH) == 2  # 5 is the second best
    assert best_place_at(2, ESTIMATE, TRUTH) == 1
    assert best_place_at(1, -ESTIMATE, TRUTH) == 6


def test_the_interval_holds_tau_and_narrows(monkeypatch):
    monkeypatch.setattr(ranking, "RESAMPLES", 300)
    rng = np.random.default_rng(0)

    def width(number):
        truth = rng.random(number)
        estimate = truth + 0.3 * rng.random(number)
        low, high = ranking.tau_interval(estimate, truth)
        assert low < tau(estimate, truth) < high
        return high - low

    assert width(60) < width(10)


def test_a_band_and_the_others_evenly():
    space, rng = supernet().space, np.random.default_rng(0)
    archs = list(dict.fromkeys(space.sample(rng) for _ in range(300)))[:101]
    macs = [10.0 + i for i in range(101)]  # the median is 60
    chosen = choose(archs, macs, networks=8, band=3)
    found = [macs[archs.index(arch)] for arch in chosen]
    assert found[:3] == [54.0, 55.0, 56.0]
    assert found[-1] == 110.0 and all(abs(m / 60 - 1) > 0.1 for m in found[3:])
    assert found[3:] == sorted(found[3:]) and len(set(found)) == 8
    with pytest.raises(ValueError, match="only 12 networks within 10 %"):
        choose(archs, macs, networks=20, band=14)


def rows():
    names = "abcdef"
    return [
        {"network": n, "miou": t, "estimate": e, "macs": 100.0 + i, "parameters": 5.0 - i}
        for i, (n, t, e) in enumerate(zip(names, TRUTH.tolist(), ESTIMATE.tolist(), strict=True))
    ]


def test_the_report_is_of_all_and_of_the_band(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ranking, "RESAMPLES", 50)
    path = tmp_path / "r.jsonl"
    given = [*rows(), {**rows()[0], "network": "g", "macs": 1000.0, "miou": 1.0}]
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    assert read_rows(path) == given
    table = report(given)
    assert list(table.columns[1].cells) == ["7"] * 3 + ["6"] * 3
    assert list(table.columns[3].cells)[3] == f"{tau(ESTIMATE, TRUTH):+.2f}"
    assert main(["report", f"out={path}"]) == 0
    assert "one band of MACs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected run or report"),
        (["run"], "say run=... and out=..."),
        (["report", "out=nothing.jsonl"], "has 0 networks"),
        (["report", "speed=1"], "key=value"),
    ],
)
def test_what_it_refuses(arguments, message, capsys):
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


def test_a_broken_line_is_named(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(rows()[0]) + '\n{"network": "b"}\n')
    with pytest.raises(ValueError, match=r"r\.jsonl:2"):
        read_rows(path)
