"""Pages of run folders: of a network with codebooks, and of one without."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pc3d.cli.build import build_data, build_task, facts
from pc3d.cli.config import compose_config
from pc3d.utils.files import file_hash
from pc3d.utils.run_folder import save_run
from tests.visualize.test_render import decode_png
from tests.visualize.test_scene import read_scene
from visualize.__main__ import main
from visualize.scene import write_page
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
    names = [layer["name"] for layer in scene["layers"]]
    assert names == ["input", "ground truth", "prediction", "chosen code"]
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
    assert [layer["name"] for layer in scene["layers"]] == ["input", "ground truth", "prediction"]
    assert "chosen codes not known: that checkpoint is gone" in scene["subtitle"]
    with pytest.raises(SystemExit, match=r"block=decoder\.2\.1 .*run test\.py again"):
        main([f"run={copy}", "block=decoder.2.1"])


def test_a_network_without_codebooks_has_the_page_of_its_three_layers(
    data_dir: Path, tmp_path: Path
):
    run = run_folder(tmp_path / "run", data_dir, "model=minkunet_cr0p5")
    shutil.rmtree(run / "checkpoints")  # it is not read
    main([f"run={run}", f"out={tmp_path / 'a.html'}"])
    scene = scene_of_run(run, "test", "")
    assert scene.codes is None and len(scene.layers) == 3
    arguments = (scene.title, scene.xyz, scene.layers, scene.spec)
    write_page(tmp_path / "b.html", *arguments, metrics=scene.caption)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    with pytest.raises(SystemExit, match="network of this run has no codebooks"):
        main([f"run={run}", "block=decoder.2.1"])
