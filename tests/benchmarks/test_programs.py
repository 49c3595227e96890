"""The programs run from end to end on a few voxels; engines that are not installed are left out."""

from __future__ import annotations

import json

import pytest
import torch

import cuda_ops
from benchmarks import attention, neighbors, ops, unet, vector_attention
from benchmarks.clouds import WORKLOADS
from benchmarks.layers import BOTH, Layer, largest_error
from benchmarks.measure import Meter
from benchmarks.peak_memory import peak_memory
from benchmarks.peers import Grid, numba_conv, spconv_pairs
from benchmarks.scans import write_scan
from benchmarks.steps import Problem, build_network, training_gflop, training_step
from benchmarks.unet import check_losses
from pc3d.cli.build import build_data, build_task
from pc3d.cli.config import compose_config
from pc3d.sparse import CoordSet, KernelSpec
from pc3d.utils.run_folder import save_run
from tests.conftest import COUNTS, TINY

SMALL = ("points=400", "threads=1", "runs=1", "warmup=1", "copy_mib=1")


@pytest.fixture(scope="module")
def room():
    return WORKLOADS["indoor"](400)


def test_neighbors_are_compared_with_scipy(tmp_path):
    scan = write_scan(tmp_path / "kitti", torch.rand(500, 3) * 20)
    out = tmp_path / "a.json"
    assert neighbors.main([*SMALL, f"kitti={scan.root}", f"out={out}"]) == 0
    rows = [row for row in json.loads(out.read_text())["rows"] if row["table"] == neighbors.TABLE]
    assert {row["workload"] for row in rows} == {"indoor", "lidar", "SemanticKITTI 00/000000"}
    assert {row["contestant"] for row in rows} == {"kernels", "scipy"} and len(rows) == 12
    assert neighbors.main(["points=0"]) == 2


def test_ops_writes_every_table(tmp_path):
    scan = write_scan(tmp_path / "kitti", torch.rand(500, 3) * 20)
    outs = tmp_path / "a.json", tmp_path / "b.md"
    arguments = [
        *SMALL,
        "channels=64x64,6x32",
        f"kitti={scan.root}",
        "contestants=kernels,reference",
    ]
    assert ops.main([*arguments, f"out={outs[0]},{outs[1]}"]) == 0
    report = json.loads(outs[0].read_text())
    tables = {row["table"] for row in report["rows"]}
    assert {"Neighbour table", "Unique with inverse", "Scan to batch", "Stream copy"} <= tables
    assert len([table for table in tables if table.startswith("Convolution")]) == 4
    layer = {"workload": "indoor", "name": "64 -> 64", "contestant": "reference", "threads": 1}
    (row,) = (
        r
        for r in report["rows"]
        if r["table"] == "Convolution 3^3: forward" and layer.items() <= r.items()
    )
    (indoor,) = (w for w in report["facts"]["workloads"] if w["name"] == "indoor")
    pairs = indoor["mean_neighbors"] * indoor["num_voxels"]
    assert row["gflop"] == pytest.approx(2e-9 * pairs * 64 * 64)
    assert report["facts"]["packages"]["torch"] == torch.__version__
    assert [ceiling["threads"] for ceiling in report["ceilings"]] == [1]
    markdown = outs[1].read_text()
    assert all(f"### {table}" in markdown for table in tables)


def test_unet_times_and_weighs_the_step(tmp_path):
    out = tmp_path / "a.json"
    wanted = ["workloads=indoor", "contestants=kernels,reference", "memory=no"]
    assert unet.main([*SMALL, *wanted, f"out={out}"]) == 0
    report = json.loads(out.read_text())
    assert {r["contestant"] for r in report["rows"] if r["table"] == unet.TITLE} >= {"reference"}


@pytest.mark.parametrize("program", [ops, unet])
def test_wrong_arguments_end_with_status_2(program, capsys, tmp_path):
    assert program.main(["nonsense=1"]) == 2
    assert "nonsense" in capsys.readouterr().out


@pytest.mark.parametrize("argument", ["channels=64", "tables=chairs", "kitti=nowhere"])
def test_ops_refuses_what_it_does_not_know(argument, capsys):
    assert ops.main([argument]) == 2
    assert argument.partition("=")[2] in capsys.readouterr().out


def test_a_step_counts_its_useful_work():
    """One voxel: every convolution has one pair, and the first has no gradient by its input."""
    network, problem = build_network(), Problem.random(torch.zeros(1, 4, dtype=torch.int32))
    sizes = [p.shape for name, p in network.named_parameters() if p.ndim > 1 and "bn" not in name]
    work = [2 * shape[-1] * shape[-2] for shape in sizes]
    first = 2 * 4 * 32
    assert training_gflop(network, problem) == pytest.approx(1e-9 * (3 * sum(work) - first))


def test_losses_that_differ_are_refused(room):
    problem = Problem.random(room.coords.indices)
    steps = {str(seed): training_step("reference", build_network(seed), problem) for seed in (0, 1)}
    with pytest.raises(RuntimeError, match="do not compute the same"):
        check_losses(steps)


def test_peak_memory_is_that_of_another_process(room):
    memory = peak_memory(room, "reference", threads=1)
    assert 50 < memory.before < memory.peak < 4000


def test_spconv_computes_the_same_layer(room):
    """On one thread, since its scatter has a race; with an offset and negative coordinates too."""
    pytest.importorskip("spconv")
    moved = room.coords.indices - torch.tensor([0, 9, 3, 5], dtype=torch.int32)
    for coords in (room.coords, CoordSet(moved[_key_order(moved)], batch_size=1)):
        layer = Layer.random(coords, 16, 24)
        with unet.using_threads(1):
            results = [layer.phases(name)[BOTH]() for name in ("spconv", "reference")]
        assert largest_error(*results) < 1e-5


def test_spconv_finds_the_same_pairs(room):
    pytest.importorskip("spconv")
    for dilation in (1, 2, 3):
        spec = KernelSpec(3, dilation=dilation)
        _, _, per_tap = spconv_pairs(Grid.of(room.coords.indices), spec)()
        # It leaves out the centre and counts one of each two opposite taps.
        expected = room.coords.neighbors(spec).num_pairs
        assert 2 * int(per_tap[:13].sum()) + len(room.coords) == expected


def test_spconv_trains_to_the_same_losses(room):
    """Down and up maps meet the same cells: odd extents, an offset that is no multiple of 2."""
    pytest.importorskip("spconv")
    moved = room.coords.indices + torch.tensor([0, 5, -7, 3], dtype=torch.int32)
    problem = Problem.random(moved[_key_order(moved)].contiguous())
    network = build_network()
    with unet.using_threads(1):
        names = ("reference", "spconv")
        check_losses({name: training_step(name, network, problem) for name in names})


def test_numba_computes_the_same_layer(room):
    pytest.importorskip("numba")
    layer = Layer.random(room.coords, 8, 16)
    expected = layer.phases("reference")[BOTH]()[0]
    assert largest_error(numba_conv(layer.coords, layer.x, layer.weight)(), expected) < 1e-5


def _key_order(indices: torch.Tensor) -> torch.Tensor:
    return cuda_ops.morton_encode(indices).argsort()


def test_attention_times_everything(tmp_path):
    out = tmp_path / "a.json"
    assert attention.main([*SMALL, "channels=16,24", f"out={out}"]) == 0
    report = json.loads(out.read_text())
    found = {(row["table"], row["name"]) for row in report["rows"]}
    for name in ("E=16", "E=24"):
        assert {
            ("Codebook attention: forward", name),
            ("Codebook attention: backward", name),
        } <= found
        assert ("Routed codebook attention", f"{name}, uniform") in found
    assert ("Training step", "6.7 M parameters") in found
    times = {
        row["contestant"]: row["milliseconds"]
        for row in report["rows"]
        if (row["table"], row["name"]) == ("Codebook attention: forward", "E=16")
    }
    share = times["codebook"] / times["3 depthwise"]
    assert any(
        f"E=16, threads 1: codebook {share:.2f} of 3 depthwise" in n for n in report["notes"]
    )
    assert attention.main(["channels=none"]) == 2


@pytest.mark.slow
def test_vector_attention_times_both_and_weighs_them(tmp_path, monkeypatch):
    monkeypatch.setattr(vector_attention, "SIZES", vector_attention.SIZES[1:])
    out = tmp_path / "v.json"
    assert vector_attention.main([*SMALL, f"out={out}"]) == 0
    report = json.loads(out.read_text())
    tasks = {(row["table"], row["name"], row["contestant"]) for row in report["rows"]}
    assert len(tasks) == 4 + 2
    assert len(report["memory"]) == 4 and all(m["peak"] >= m["before"] for m in report["memory"])
    assert vector_attention.main(["points=none"]) == 2


def test_the_two_blocks_have_as_many_parameters(room):
    meter = Meter(1, 1, lambda line: None)
    attention.measure_block(meter, room, 1)
    sizes = [
        int(word.replace(",", "")) for word in meter.rows[0].case.name.split() if word[0].isdigit()
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def test_choices_of_a_run_are_those_of_its_network(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("PC3D_DATA", str(data_dir))
    monkeypatch.setenv("PC3D_RUN_DIR", str(tmp_path / "run"))
    overrides = [*TINY, "model=voxel_tr_s", f"paths.run_dir={tmp_path / 'run'}"]
    config = compose_config("config", overrides)
    task = build_task(config, build_data(config))
    save_run(tmp_path / "run", config, overrides)
    state = {f"network.{name}": value for name, value in task.network.state_dict().items()}
    (tmp_path / "run" / "checkpoints").mkdir()
    facts = {"pc3d": {"format": 1}, "state_dict": state}
    torch.save(facts, tmp_path / "run" / "checkpoints" / "best.ckpt")
    layers = attention.layers_of_run(tmp_path / "run", torch.device("cpu"))
    assert len(layers) == 12 * COUNTS["num_val"]
    for layer in layers:
        torch.testing.assert_close(layer.choice.sum(dim=1), torch.ones_like(layer.choice[:, 0]))
        assert layer.v.shape == (len(layer.choice), layer.codes.shape[1])
