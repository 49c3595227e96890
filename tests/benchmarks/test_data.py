"""Loading is measured: rates, stages and memory of a few small rooms."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import data
from benchmarks.data import Epoch, Loading, memory_table, rate_table, stage_table, verdicts
from benchmarks.footprint import Footprint, memory_mib, spread
from benchmarks.stages import Clock, clocked
from pc3d.cli.build import build_data
from pc3d.cli.config import compose_config
from tests.conftest import COUNTS, TINY
from tests.watchdog import watchdog

ROOMS = [argument for argument in TINY if argument.startswith("dataset.")]
STAGES = ["read", "CenterShift", "voxelize", "crop", "collate"]


@pytest.fixture
def rooms(data_dir, monkeypatch):
    monkeypatch.setenv("PC3D_DATA", str(data_dir))
    return ROOMS


def test_everything_is_measured(rooms, tmp_path, capsys):
    outs = tmp_path / "a.json", tmp_path / "b.md"
    with watchdog(120):
        arguments = [
            *rooms,
            "dataset.max_voxels=800",
            "num_workers=1",
            "epochs=2",
            f"out={outs[0]},{outs[1]}",
        ]
        assert data.main(arguments) == 0
    assert multiprocessing.active_children() == []
    report = json.loads(outs[0].read_text())
    assert [loading["num_workers"] for loading in report["loadings"]] == [1, 0]
    for loading in report["loadings"]:
        assert [epoch["num_scenes"] for epoch in loading["epochs"]] == [COUNTS["num_train"]] * 2
        points = [epoch["num_points"] for epoch in loading["epochs"]]
        assert min(points) > 1000 and points[0] != points[1], "every epoch is augmented anew"
        assert loading["scenes_per_second"] > 0
    same = [[e["num_points"] for e in loading["epochs"]] for loading in report["loadings"]]
    assert same[0] == same[1], "workers load what the process itself does"
    assert report["stages"].keys() > {*STAGES} and "ElasticDistortion" not in report["stages"]
    assert set(report["facts"]["transforms"]) <= report["stages"].keys()
    total = sum(epoch["seconds"] for epoch in report["loadings"][1]["epochs"])
    assert 0 < sum(report["stages"].values()) <= total
    if Path("/proc/self/status").exists():
        with_worker = report["loadings"][0]["epochs"][1]["memory"]
        alone = report["loadings"][1]["epochs"][1]["memory"]
        assert with_worker["workers"] > 1 and alone["workers"] == 0
        assert alone["main_peak"] >= with_worker["main_peak"] > 50
    output = capsys.readouterr().out
    for title in (
        "Scenes per second",
        "A scene in the main process",
        "Memory after every epoch, MiB",
        "flat: ",
    ):
        assert title in output and (title == "flat: " or f"### {title}" in outs[1].read_text())


def test_epochs_can_be_cut_short(rooms, tmp_path):
    config = compose_config("config", [*rooms, f"paths.run_dir={tmp_path}"])
    loaded = build_data(config)
    loaded.num_workers = 0
    options = replace(data.parse(["epochs=1"]), max_batches=1)
    loading, seconds = data.measure(loaded, 0, options)
    assert [epoch.num_scenes for epoch in loading.epochs] == [1]
    assert seconds.keys() > {*STAGES}


def test_clocks_change_nothing_that_is_loaded(rooms, tmp_path):
    loaded = build_data(compose_config("config", [*rooms, "num_workers=0"]))
    plain, timed = loaded.train_dataloader(), loaded.train_dataloader()
    clock = clocked(timed)
    for batch, expected in zip(timed, plain, strict=True):
        assert batch.points.names == expected.points.names
        assert batch.voxels.feats.tolist() == expected.voxels.feats.tolist()
    assert [stage for stage in clock.seconds if stage in STAGES] == STAGES
    assert timed.dataset.reader.spec is plain.dataset.reader.spec


def test_a_clock_adds_up(monkeypatch):
    now = iter([1.0, 4.0, 10.0, 10.5])
    monkeypatch.setattr("benchmarks.stages.time.perf_counter", lambda: next(now))
    clock = Clock()
    double = clock.timed("double", lambda x: 2 * x)
    assert [double(3), double(4)] == [6, 8]
    assert clock.seconds == {"double": 3.5}


def loading(num_workers: int, *together: float) -> Loading:
    epochs = [
        Epoch(8, 8000, 2.0 + i, Footprint(amount - 10, 10, 500, 60))
        for i, amount in enumerate(together)
    ]
    return Loading(num_workers, tuple(epochs))


def test_tables_in_numbers():
    some = [loading(2, 100, 100.5, 100.9), loading(0, 200, 203, 201)]
    assert [row[:3] for row in rate_table(some).rows] == [
        ["2 workers", "2.67", "1.33"],
        ["main process", "2.67", "2.67"],
    ]
    assert rate_table(some).rows[0][3:] == ["8", "1,000"]
    assert stage_table(some[1], {"read": 1.5, "collate": 3.0}).rows == [
        ["read", "62.50", "16.7 %"],
        ["collate", "125.00", "33.3 %"],
        ["everything else", "187.50", "50.0 %"],
        ["together", "375.00", "100.0 %"],
    ]
    assert memory_table(some).rows == [
        ["2 workers", "main process", "90.0", "90.5", "90.9", "500.0"],
        ["2 workers", "workers", "10.0", "10.0", "10.0", "60.0"],
        ["2 workers", "together", "100.0", "100.5", "100.9", "-"],
        ["main process", "main process", "190.0", "193.0", "191.0", "500.0"],
    ]
    flat, not_flat = verdicts(some)
    assert flat.startswith("2 workers: memory is flat: 0.90 %")
    assert not_flat.startswith("main process: memory is NOT flat: 1.50 %")


def test_memory_that_is_not_counted_is_not_judged():
    unknown = Loading(1, (Epoch(1, 1, 1.0, None),))
    assert verdicts([unknown]) == ["memory is not counted here: there is no /proc"]


def test_proportional_memory_is_preferred(tmp_path):
    process = tmp_path / "7"
    process.mkdir()
    assert memory_mib(7, tmp_path) is None
    (process / "status").write_text("VmPeak: 9 kB\nVmRSS:\t    2048 kB\n")
    assert memory_mib(7, tmp_path) == 2.0
    old = "00400000-7fff [rollup]\nRss: 2048 kB\nPss: 1536 kB\n"
    (process / "smaps_rollup").write_text(old)
    assert memory_mib(7, tmp_path) == 2.0
    parts = "Pss_Dirty: 1 kB\nPss_Anon:     1024 kB\nPss_File: 7 kB\nPss_Shmem:  512 kB\n"
    (process / "smaps_rollup").write_text(old + parts)
    assert memory_mib(7, tmp_path) == 1.5
    assert spread([3.0, 4.0, 3.5]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "argument, expected",
    [
        ("epochs=0", "epochs must be positive"),
        ("num_workers=1,x", "num_workers must be positive"),
        ("out=a.txt", r"out must name .json or .md"),
        ("nonsense=1", "nonsense"),
        ("dataset=nowhere", "nowhere"),
    ],
)
def test_wrong_arguments_end_with_status_2(argument, expected, rooms, capsys):
    assert data.main([*rooms, argument]) == 2
    assert expected in capsys.readouterr().out
