"""Pages of run folders: of a network with codebooks, and of one without."""

from __future__ import annotations

import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from pc3d.cli.build import build_data, build_task, facts
from pc3d.cli.config import compose_config
from pc3d.inference import load
from pc3d.sparse import Batch
from pc3d.utils.files import file_hash
from pc3d.utils.run_folder import save_run
from tests.visualize.test_render import decode_png
from tests.visualize.test_scene import read_scene, views
from visualize import run_pass
from visualize.__main__ import main
from visualize.layers import Categories
from visualize.sources import scene_of_run

CODEBOOK = (
    "model=voxel_tr_s",
    "model.widths=[8,8,8,8,8,8,8,8]",
    "model.depths=[1,1,1,1,1,1,2,1]",
    "model.stem_channels=8",
    "model.block.attention.choice.kind=gumbel",
)


def run_folder(folder: Path, data_dir: Path, *overrides: str) -> Path:
    """A run folder as train.py and test.py leave it, of a network that was never trained."""
    arguments = [
        f"paths.data_dir={data_dir}",
        f"paths.run_dir={folder}",
        "dataset.voxel_size=0.25",
        "recipe=default",
        *overrides,
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PC3D_RUN_DIR", str(folder))
        config = compose_config("config", arguments)
        save_run(folder, config, arguments)
    torch.manual_seed(0)
    data = build_data(config)
    task = build_task(config, data, training=False)
    path = folder / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    torch.save({"pc3d": facts(config, data), "state_dict": task.state_dict()}, path)
    predictions = folder / "predictions" / file_hash(path) / "test" / "single"
    predictions.mkdir(parents=True)
    (predictions / "protocol.json").write_text("{}")
    for scene in data.reader.scenes("test"):
        num_points = len(data.reader.read(scene, "test"))
        np.save(predictions / f"{scene}.npy", np.arange(num_points, dtype=np.int16) % 20)
    return folder


@pytest.fixture(scope="module")
def run(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder(tmp_path_factory.mktemp("runs") / "codebook", data_dir, *CODEBOOK)


def test_a_page_of_a_run_shows_which_code_each_voxel_chose(run: Path, tmp_path: Path):
    main([f"run={run}", f"out={tmp_path / 'a.html'}", "max_points=2000"])
    scene = read_scene(tmp_path / "a.html")
    known = ["INPUT", "height", "GROUND TRUTH", "PREDICTION", "error", "confidence", "entropy"]
    assert views(scene) == [*known, "CHOSEN CODE"]
    view = scene["layers"][-1]
    titles = [block["title"] for block in view["blocks"]]
    assert titles == [
        "encoder.1.0 (stride 4)",
        "encoder.2.0 (stride 8)",
        "encoder.3.0 (stride 16)",
        "decoder.0.0 (stride 8)",
        "decoder.1.0 (stride 4)",
        "decoder.2.0 (stride 2)",
        "decoder.2.1 (stride 2)",
    ]
    assert titles[view["first"]] == "decoder.2.1 (stride 2)"
    labels = [entry["label"] for entry in view["blocks"][0]["legend"]]
    assert labels == [f"code {d}: cube, dilation {k}" for d, k in enumerate((2, 1, 3))]
    assert any(len(set(block["codes"])) > 1 for block in view["blocks"])


def test_codes_are_constant_within_the_voxels_of_their_block(run: Path):
    """The points of the file, in their order: moved to the middle of the room, as in evaluation."""
    name = "scene7501_00"
    scene = scene_of_run(run, "test", name)
    assert scene.title == name and scene.codes is not None
    middle = (scene.xyz.min(axis=0) + scene.xyz.max(axis=0)) / 2
    centered = scene.xyz - [middle[0], middle[1], scene.xyz[:, 2].min()]
    for block in scene.codes.blocks:
        cells = np.floor(centered / (0.25 * block.stride))
        sure = (np.abs(centered / 0.25 - np.round(centered / 0.25)) > 1e-3).all(axis=1)
        _, cell = np.unique(cells, axis=0, return_inverse=True)
        pairs = np.stack([cell.ravel(), block.codes], axis=1)[sure]
        assert len(np.unique(pairs, axis=0)) == len(np.unique(pairs[:, 0])) > 1


def test_confidence_and_entropy_are_those_of_the_network(run: Path):
    """By its own way from files to scores, `pc3d.load`, which shares the network alone."""
    scene = scene_of_run(run, "test", "scene7501_00")
    layers = {layer.name: layer.values for layer in scene.layers}
    predictor = load(run / "checkpoints" / "last.ckpt", "cpu")
    found = predictor.predict(scene.xyz, layers["input"], extent=1e6, probabilities=True)
    assert found.probabilities is not None
    shown = found.probabilities[np.arange(len(scene.xyz)), layers["prediction"]]
    np.testing.assert_allclose(layers["confidence"], shown, atol=1e-4)
    expected = -(found.probabilities * np.log(found.probabilities)).sum(axis=1) / np.log(20)
    np.testing.assert_allclose(layers["entropy"], expected, atol=1e-4)
    assert np.ptp(shown) > 1e-3 and np.ptp(expected) > 1e-4


def test_a_prediction_of_several_views_says_that_confidence_is_of_one(run: Path, tmp_path: Path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (tested,) = copy.glob("predictions/*/test/single")
    assert "of one pass" not in scene_of_run(copy, "test", "").caption
    tested.rename(tested.with_name("tta13-0123abcd"))
    expected = "confidence and entropy are of one pass, the prediction of several"
    assert expected in scene_of_run(copy, "test", "").caption


def test_voxels_are_those_of_the_network(run: Path):
    scene = scene_of_run(run, "test", "scene7501_00")
    assert scene.grid is not None and scene.grid.voxel_size == 0.25
    middle = (scene.xyz.min(axis=0) + scene.xyz.max(axis=0)) / 2
    centered = (scene.xyz - [middle[0], middle[1], scene.xyz[:, 2].min()]) / 0.25
    sure = (np.abs(centered - np.round(centered)) > 1e-3).all(axis=1)
    np.testing.assert_array_equal(scene.grid.indices[sure], np.floor(centered)[sure])
    assert sure.mean() > 0.9


def test_the_network_is_in_evaluation_mode(run: Path):
    """In training a gumbel choice is another one every time."""
    one, two = (scene_of_run(run, "test", "").codes for _ in range(2))
    assert one is not None and two is not None
    for a, b in zip(one.blocks, two.blocks, strict=True):
        np.testing.assert_array_equal(a.codes, b.codes)


def test_a_scene_over_the_budget_is_cut_into_tiles(run: Path, data_dir: Path, tmp_path: Path):
    """The same weights, but voxels at the borders of tiles have fewer neighbours."""
    tiled = run_folder(tmp_path / "run", data_dir, *CODEBOOK, "task.max_eval_voxels=900")
    scene, whole = scene_of_run(tiled, "test", ""), scene_of_run(run, "test", "")
    assert scene.codes is not None and whole.codes is not None
    pairs = list(zip(scene.codes.blocks, whole.codes.blocks, strict=True))
    for a, b in pairs:
        assert (a.title, len(a.codes)) == (b.title, len(scene.xyz))
        assert a.shares.sum() == pytest.approx(1)
    assert any((a.codes != b.codes).any() for a, b in pairs)
    assert "tiles" not in [layer.name for layer in whole.layers]
    (tiles,) = (layer for layer in scene.layers if layer.name == "tiles")
    assert scene.grid is not None and isinstance(tiles, Categories)
    assert set(tiles.values) == set(range(len(tiles.labels))) and len(tiles.labels) > 1
    voxels = np.column_stack([scene.grid.indices, tiles.values])
    assert len(np.unique(voxels, axis=0)) == len(np.unique(voxels[:, :3], axis=0))
    boxes = [voxels[tiles.values == k, :2] for k in range(len(tiles.labels))]
    corners = [(box.min(axis=0), box.max(axis=0)) for box in boxes]
    for (low, high), (other_low, other_high) in combinations(corners, 2):
        assert (low >= other_high).any() or (other_low >= high).any()  # they meet at a border


def test_more_tiles_than_a_layer_tells_apart_are_said(run: Path, monkeypatch: pytest.MonkeyPatch):
    def many(batch: Batch, max_voxels: int) -> np.ndarray:
        return 1 + np.arange(len(batch.point2voxel)) % 257

    monkeypatch.setattr(run_pass, "tile_of_points", many)
    scene = scene_of_run(run, "test", "")
    assert "tiles" not in [layer.name for layer in scene.layers]
    assert "the 257 tiles are not shown: a layer tells 256 apart" in scene.caption


def test_the_block_is_chosen_by_name(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = [f"run={run}", "block=encoder.2.0", "max_points=500"]
    main([*arguments, f"out={tmp_path / 'a.html'}"])
    assert read_scene(tmp_path / "a.html")["layers"][-1]["first"] == 1
    main([*arguments, f"out={tmp_path / 'a.png'}"])
    line = capsys.readouterr().out.splitlines()[-1]
    assert "last panel: encoder.2.0 (stride 8): code 0: cube, dilation 2 #e69f00 " in line
    assert decode_png((tmp_path / "a.png").read_bytes()).shape[1] == 4 * 640 + 3 * 16
    with pytest.raises(SystemExit, match=r"block=encoder\.0\.0 has no codebook; .*decoder\.2\.1"):
        main([f"run={run}", "block=encoder.0.0"])


def test_a_page_without_its_checkpoint_says_so(run: Path, tmp_path: Path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "checkpoints" / "last.ckpt").write_bytes(b"a later epoch")
    main([f"run={copy}", f"out={tmp_path / 'a.html'}", "max_points=500"])
    scene = read_scene(tmp_path / "a.html")
    assert views(scene) == ["INPUT", "height", "GROUND TRUTH", "PREDICTION", "error"]
    assert "confidence and chosen codes not known: that checkpoint is gone" in scene["subtitle"]
    with pytest.raises(SystemExit, match="no layer confidence; this scene has input"):
        main([f"run={copy}", f"out={tmp_path / 'a.html'}", "layers=confidence"])
    with pytest.raises(SystemExit, match=r"block=decoder\.2\.1 .*run test\.py again"):
        main([f"run={copy}", "block=decoder.2.1"])


def test_a_run_that_was_not_tested_or_not_trained_says_what_to_do(run: Path, tmp_path: Path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "predictions")
    with pytest.raises(SystemExit, match=r"no predictions of split test\. Make them: python"):
        main([f"run={copy}"])
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(SystemExit, match=r"but .*checkpoints has no checkpoint: train first"):
        main([f"run={copy}"])


def test_a_network_without_codebooks_has_no_view_of_codes(data_dir: Path, tmp_path: Path):
    run = run_folder(tmp_path / "run", data_dir, "model=minkunet_cr0p5")
    scene = scene_of_run(run, "test", "")
    assert scene.codes is None and scene.first_views == ["input", "ground truth", "prediction"]
    with pytest.raises(SystemExit, match="network of this run has no codebooks"):
        main([f"run={run}", "block=decoder.2.1"])
    shutil.rmtree(run / "checkpoints")
    main([f"run={run}", f"out={tmp_path / 'a.html'}"])
    assert "; confidence not known: that" in read_scene(tmp_path / "a.html")["subtitle"]


def test_sampled_points_of_a_point_transformer(data_dir: Path, tmp_path: Path):
    small = ("widths=[8,8,8]", "depths=[1,1,1]", "num_neighbors=[4,4,4]")
    run = run_folder(
        tmp_path / "run", data_dir, "model=ptv1_m", *(f"model.{option}" for option in small)
    )
    scene = scene_of_run(run, "test", "")
    (layer,) = (layer for layer in scene.layers if layer.name == "sampled points")
    assert isinstance(layer, Categories) and scene.grid is not None
    assert layer.labels == ("up to stage 0", "up to stage 1", "up to stage 2")
    voxels = np.column_stack([scene.grid.indices, layer.values])
    stages = np.unique(voxels, axis=0)[:, 3]
    number = len(stages)
    assert number == len(np.unique(voxels[:, :3], axis=0))  # a voxel's points stay together
    quarter = -(-number // 4)
    assert [(stages >= k).sum() for k in range(3)] == [number, quarter, -(-quarter // 4)]
