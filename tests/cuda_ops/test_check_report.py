"""The report of a machine: times, floors, targets, files, exit status."""

from __future__ import annotations

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cuda_ops.check import report, rivals, run, timings
from cuda_ops.check.floors import Ceilings, Work, geometric_mean
from cuda_ops.check.kernels import (
    CONV,
    FORWARD,
    INPUT,
    KNOWN_MAPS,
    MAPS,
    WEIGHT,
    conv_kernels,
    map_kernels,
)
from cuda_ops.check.precision import FLOAT32
from cuda_ops.check.rivals import OURS, Duel
from cuda_ops.check.rooms import Place, offsets
from cuda_ops.check.section import Section, Table, guarded
from cuda_ops.check.targets import TARGETS, Results, target_section
from cuda_ops.check.timing import Lap, Stopwatch, Times, quartiles
from cuda_ops.check.timings import (
    Plan,
    Row,
    means_of,
    rival_section,
)
from cuda_ops.runtime import serving

CPU = torch.device("cpu")
TOP = Ceilings(copy=1000.0, matmul={"float32": 50_000.0, "bfloat16": 500_000.0})


def times(milliseconds: float) -> Times:
    return Times(milliseconds, milliseconds, milliseconds, milliseconds)


def row(op: str, place: str, channels: int, microseconds: float, precision="bfloat16") -> Row:
    taken = times(1e-3 * microseconds)
    return Row(op, place, 100_000, channels, precision, taken, 0.01, 1.0, "GB/s", None)


def test_a_floor_is_the_larger_of_both_times():
    """1 GB at 1000 GB/s is 1 ms; 1000 GFLOP at 500 TFLOP/s are 2 ms, at 50 TFLOP/s 20 ms."""
    assert TOP.floor_ms(Work(0.0, 1e9)) == pytest.approx(1.0)
    assert TOP.floor_ms(Work(1e12, 1e9, "bfloat16")) == pytest.approx(2.0)
    assert TOP.floor_ms(Work(1e12, 1e9)) == pytest.approx(20.0)
    assert TOP.floor_ms(Work(1e12, 1e9, "float8")) == pytest.approx(20.0)  # unknown: float32
    assert TOP.bound(Work(1e12, 1e9)) == "arithmetic" and TOP.bound(Work(0.0, 1.0)) == "memory"
    tensors = torch.zeros(10, dtype=torch.float16), torch.zeros(5, dtype=torch.int32)
    assert Work.touching(*tensors, flop=3.0) == Work(3.0, 40)


def test_a_convolution_counts_its_pairs():
    """Two operations for each pair and pair of channels; features, weight and table once."""
    place = Place.make("room", 300, CPU)
    plan = Plan.of(300, quick=True)
    kernels = {str(k): k for k in timings.kernels_of(place, plan, CPU)}
    work, runs = kernels[f"{CONV} {FORWARD} on room 300, C=64, float32"].runs()
    table, size = place.clouds[0].table(), len(place.clouds[0])
    assert work.flop == 2 * int((table >= 0).sum()) * 64 * 64
    assert work.num_bytes == 4 * (2 * size * 64 + 27 * 64 * 64 + 27 * size)
    assert len(runs) == 3 and [run().shape[1] for run in runs] == [64] * 3


def test_what_is_timed_is_what_its_reference_computes():
    place = Place.make("street", 300, CPU)
    for kernel in timings.kernels_of(place, Plan.of(300, quick=True), CPU):
        work, runs = kernel.runs()
        assert work.num_bytes > 0
        for call in runs:
            found = call()
            with serving("reference"):
                expected = call()
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3, msg=str(kernel))


@pytest.mark.parametrize("phase", [INPUT, WEIGHT])
def test_gradients_are_timed_alone_and_complete(phase):
    """What is timed is the gradient by one input, and that is the one which autograd gives."""
    place = Place.make("room", 200, CPU)
    (kernel,) = (k for k in conv_kernels(place, 8, FLOAT32) if k.op.endswith(phase))
    _, runs = kernel.runs()
    ((found,), table) = runs[0](), place.clouds[0].table()
    assert found.shape == ((27, 8, 8) if phase == WEIGHT else (table.shape[1], 8))
    names = [name for name in called_ops(runs[0]) if name.startswith("sparse_conv")]
    assert names == (["sparse_conv_weight_grad"] if phase == WEIGHT else ["sparse_conv"])


def test_known_sizes_are_not_read_from_the_device_and_give_the_same_maps(monkeypatch):
    """What is read, or copied from the host, waits for a GPU."""
    place = Place.make("room", 300, CPU)
    kernels = {kernel.op: kernel.runs()[1][0] for kernel in map_kernels(place)}
    for a, b in zip(kernels[MAPS](), kernels[KNOWN_MAPS](), strict=True):
        assert torch.equal(a, b)
    read = []
    real = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: read.append(1) or real(self))
    assert set(called_ops(kernels[KNOWN_MAPS])) == {"neighbor_table", "down_table"}
    assert not read
    assert "level_sizes" in called_ops(kernels[MAPS]) and read


def called_ops(run) -> list[str]:
    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            names.append(str(func.name()).partition("::")[2].partition(".")[0])
            return func(*args, **(kwargs or {}))

    names: list[str] = []
    with Names():
        run()
    return names


@pytest.mark.parametrize("kind, low, high", [("room", 11, 15), ("street", 4, 7)])
def test_clouds_have_about_the_voxels_and_neighbours_that_they_should(kind, low, high):
    place = Place.make(kind, 100_000, CPU)
    assert place.name == f"{kind} 100k"
    for cloud in place.clouds:
        assert 90_000 < len(cloud) < 110_000
        assert low < int((cloud.table() >= 0).sum()) / len(cloud) < high
    assert len({tuple(cloud.keys[:50].tolist()) for cloud in place.clouds}) == 3


def test_offsets_are_a_cube_with_opposite_taps_opposite():
    cube = offsets(torch.zeros(1), dilation=2, reach=2)
    assert len(cube) == 125 and torch.equal(cube, -cube.flip(0)) and int(cube.max()) == 4


def test_laps_take_turns_over_copies_and_contestants():
    called = []
    calls = [lambda i=i: called.append(i) for i in range(2)]
    watch = Stopwatch(CPU, warmup=1, runs=3)
    found = watch.together({"a": calls, "b": [lambda: called.append("b")]})
    assert called == [0, "b", 1, "b", 0, "b", 1, "b", 0, "b"]  # every copy once before the clock
    assert 0 < found["a"].low <= found["a"].median <= found["a"].high
    assert watch.peak_mib(calls[0]) is None


def test_a_gpu_is_timed_by_events_around_the_call_alone(monkeypatch):
    """Events stand in for those of a GPU: they note when they are recorded."""
    called, watch = [], Stopwatch(CPU, 1, 1)
    watch.device = SimpleNamespace(type="cuda")

    class Flush:
        def zero_(self):
            called.append("flush")

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            called.append("record")

        def elapsed_time(self, last):
            called.append("read")
            return 2.5  # milliseconds

    watch._flush = Flush()
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: called.append("wait"))
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: called.append("lead"))
    lap = watch.lap(lambda: called.append("call"))
    assert called == ["flush", "lead", "record", "call", "record", "wait", "read"]
    assert lap.seconds == pytest.approx(2.5e-3) and 0 < lap.host < 1


def test_quartiles_leave_outliers_out():
    laps = [Lap(1e-3 * s, 1e-3) for s in (1, 2, 3, 4, 100)]
    assert Times.of(laps) == Times(3.0, 2.0, 4.0, 1.0)
    assert quartiles([7.0]) == [7.0] * 3


def verdicts(results: Results, is_gpu: bool = True) -> dict[str, str]:
    section = target_section(results, is_gpu)
    return {value["what"]: value["verdict"] for value in section.values}


def test_targets_are_met_missed_or_not_measured():
    names = [target.what for target in TARGETS]
    rows = [
        row(f"{CONV} {FORWARD}", "room 100k", 64, 34.9),
        row(f"{CONV} {WEIGHT}", "room 100k", 64, 34.9 * 1.2),
        row(f"{CONV} {FORWARD}", "room 400k", 128, 381.0),
        row(f"{CONV} {WEIGHT}", "room 400k", 128, 381.0 * 1.4),
        row("codebook_attention D=3 forward", "room 100k", 128, 100.0),
        row("codebook_attention D=3 backward", "room 100k", 128, 249.0),
        row(KNOWN_MAPS, "room 400k", 0, 900.0, "float32"),
        row(MAPS, "room 400k", 0, 590.0, "float32"),
    ]
    duels = [
        Duel(
            rivals.FORWARD, "room 100k", 64, "bfloat16", {OURS: times(1), "spconv-triton": times(2)}
        ),
        Duel(
            rivals.BOTH, "street 100k", 32, "float16", {OURS: times(1), "spconv-triton": times(1.4)}
        ),
        Duel(rivals.FORWARD, "room 100k", 256, "tf32", {OURS: times(1), "spconv-triton": times(1)}),
    ]
    found = verdicts(Results(rows, duels))
    expected = ["met", "missed", "missed", "met", "missed", "met", "met", "missed", "met"]
    assert [found[name] for name in names] == [*expected, "not measured", "not measured"]
    assert set(verdicts(Results(rows, duels), is_gpu=False).values()) == {"not measured"}
    assert set(verdicts(Results()).values()) == {"not measured"}
    # The same op elsewhere, in other types, or with other channels says nothing.
    others = [row(f"{CONV} {FORWARD}", "street 100k", 64, 1.0)]
    others += [row(f"{CONV} {FORWARD}", "room 100k", 64, 1.0, "float16")]
    others += [row(f"{CONV} {FORWARD}", "room 100k", 128, 1.0)]
    assert set(verdicts(Results(others)).values()) == {"not measured"}


def network(name: str, phase: str, ms: float, size: int = 100_000) -> dict:
    about = {"network": name, "size": size, "voxels": size, "precision": "bfloat16"}
    return {**about, "phase": phase, "ms": ms, "floor_ms": 1.0}


def test_targets_of_networks_take_the_worst_size():
    rows = [
        network("minkunet18a", "inference with maps", 1.9),
        network("minkunet_m", "training step", 10.0),
        network("voxel_tr_a", "training step", 12.0),
    ]
    found = list(verdicts(Results(networks=rows)).values())
    assert found[-2:] == ["met", "met"]
    rows += [network("minkunet18a", "inference with maps", 2.1, 400_000)]
    rows += [network("minkunet_m", "training step", 10.0, 400_000)]
    rows += [network("voxel_tr_a", "training step", 14.0, 400_000)]
    assert list(verdicts(Results(networks=rows)).values())[-2:] == ["missed", "missed"]


def test_losses_against_rivals_are_listed_and_means_are_geometric():
    duels = [
        Duel("conv", "room", 64, "bfloat16", {OURS: times(1), "other": times(2)}),
        Duel("conv", "room", 256, "bfloat16", {OURS: times(2), "other": times(1)}),
    ]
    assert geometric_mean([2.0, 0.5]) == pytest.approx(1.0)
    assert means_of(duels) == {("conv", "bfloat16", "other"): (pytest.approx(1.0), 2)}
    _, _, losses = rival_section(duels).tables
    assert losses.rows == [["conv", "room", "256", "bfloat16", "other", "0.50"]]
    assert rival_section([]).tables == ()


def test_the_check_runs_from_end_to_end_on_a_cpu(tmp_path, capsys):
    assert run.main(["device=cpu", "--quick", "points=300", f"out={tmp_path}"]) == 0
    (path,) = tmp_path.glob("*.json")
    found = json.loads(path.read_text())
    titles = [section["title"] for section in found["sections"]]
    assert titles[1:4] == ["Parity with float64", "Beyond 2^31", "Determinism"]
    assert titles[-3:] == ["Targets", "compute-sanitizer", "Errors"]
    values = {section["title"]: section["values"] for section in found["sections"]}
    assert {value["verdict"] for value in values["Targets"]} == {"not measured"}
    assert len(values["Kernels"]) > 10 and found["passed"]
    assert path.name.endswith(f"{found['facts']['date'][:10]}.json")
    text = path.with_suffix(".md").read_text()
    assert all(f"## {title}" in text for title in titles)
    assert "## Kernels" in capsys.readouterr().out
    assert len(list(tmp_path.iterdir())) == 2


def test_a_part_that_throws_fails_the_check_and_files_are_written(tmp_path, monkeypatch, capsys):
    def boom(*_):
        raise RuntimeError("a planted\nerror")

    monkeypatch.setattr(run, "check_parity", boom)
    monkeypatch.setattr(run, "measure_ceilings", boom)
    assert run.main(["device=cpu", "--quick", "points=300", f"out={tmp_path}"]) == 1
    (path,) = tmp_path.glob("*.md")
    text = path.read_text()
    assert "## Parity with float64: **FAIL**" in text and "RuntimeError: a planted error" in text
    assert "## Errors: pass" in text and "## Determinism: pass" in text


def test_nothing_is_written_on_a_cpu_unless_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "check_parity", lambda *_: [])
    assert run.main(["device=cpu", "--small"]) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argument",
    [
        *("points=0", "points=many", "points=²", "device=tpu", "device=cuda:x", "fast", "--fast"),
        *("nonsense=1", "minutes=-1", "out={file}", "out={file}/below"),
    ],
)
def test_wrong_arguments_end_in_one_line_and_status_2(argument, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert run.main([argument.format(file=tmp_path / "file")]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said(capsys):
    assert run.main(["device=cuda"]) == 2
    assert "no GPU" in capsys.readouterr().err


def test_file_names_are_plain():
    name = report.file_name("NVIDIA H100 80GB HBM3", "2026-11-23T13:26+00:00")
    assert name == "nvidia-h100-80gb-hbm3-2026-11-23"
    assert report.file_name("//", "2026-11-23").startswith("device-")


def test_files_are_whole_or_absent_and_numbers_that_are_none_are_null(tmp_path):
    about = {"device": "x", "date": "2026-11-23"}
    path = report.write(tmp_path, about, [Section("a", {"found": [float("nan"), (1.0,)]}, True)])
    values = json.loads(path.with_suffix(".json").read_text())
    assert values["sections"][0]["values"] == {"found": [None, [1.0]]}
    before = path.read_text()
    with pytest.raises(TypeError):
        report.write(tmp_path, about, [Section("b", object())])
    assert path.read_text() == before and len(list(tmp_path.iterdir())) == 2


def test_sections_are_markdown():
    lines = list(Section("T", None, True, (Table("sub", ["a|b"], [["1"]]),), ("note",)).lines())
    assert lines[0] == "## T: pass" and "| a\\|b |" in lines and "note" in lines
    failed = guarded("T", lambda: 1 / 0)
    assert failed.passed is False and "ZeroDivisionError" in failed.notes[0]


def test_the_targets_of_the_documentation_are_those_of_the_code():
    text = (report.HOUSE / "README.md").read_text(encoding="utf-8")
    for target in TARGETS:
        assert f"| {target.what} | {target.wanted} | not measured |" in text
