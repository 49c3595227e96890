"""`pc3d profile` from the command line."""

from __future__ import annotations

import json

import pytest

from pc3d.cli import profile

SMALL = (
    "model=minkunet14a",
    "model.widths=[8,8,8,8,8,8,8,8]",
    "model.stem_channels=8",
    "voxels=300",
    "runs=1",
    "warmup=1",
    "device=cpu",
)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("PC3D_DATA", str(tmp_path))
    monkeypatch.setenv("KINETO_LOG_LEVEL", "99")


def test_a_table_json_and_a_page(tmp_path, capsys):
    paths = tmp_path / "a.json", tmp_path / "b.html"
    profile.run([*SMALL, "depth=2", f"out={paths[0]}, {paths[1]}"])
    shown = capsys.readouterr().out
    assert "minkunet14a: " in shown and "decoder" in shown and "the parts sum to" in shown
    report = json.loads(paths[0].read_text())
    assert report["overrides"][:2] == ["model=minkunet14a", "model.widths=[8,8,8,8,8,8,8,8]"]
    parts, totals = report["parts"], report["totals"]
    assert parts["macs"] == sum(module["macs"] for module in report["modules"])
    assert 0 < totals["inference"] < totals["forward"] + totals["backward"]
    assert {"processor", "packages", "commit"} <= report["facts"].keys()
    page = paths[1].read_text()
    assert report["title"] in page and '"backbone.decoder.0"' in page
    assert "/*PLOTLY*/" not in page and "/*REPORT*/" not in page


def test_deeper_rows(capsys):
    profile.run([*SMALL, "depth=0"])
    deep = capsys.readouterr().out
    profile.run([*SMALL, "depth=1"])
    assert len(deep.splitlines()) > 4 * len(capsys.readouterr().out.splitlines())


def test_sweeps(tmp_path, capsys):
    path = tmp_path / "a.json"

    def swept(*options):
        profile.run([*SMALL, f"out={path}", *options])
        return json.loads(path.read_text())["sweep"], capsys.readouterr().out

    rows, shown = swept("sweep=voxels", "values=[200,400,800]")
    assert [row["value"] for row in rows] == [200, 400, 800]
    assert rows[0]["num_voxels"] < rows[1]["num_voxels"] < rows[2]["num_voxels"]
    line = next(line for line in shown.splitlines() if "grows as" in line)
    powers = [float(cell.strip("│ ^")) for cell in line.split("│")[2:-1] if cell.strip()]
    assert powers[0] == 1 and 0.9 < powers[2] < 1.6, "MACs grow a little faster than voxels"
    rows, _ = swept("sweep=channels", "values=[1,2]")
    narrow, wide = (row["parts"]["parameters"] for row in rows)
    assert 3 * narrow < wide < 4.1 * narrow
    rows, _ = swept("sweep=model.stem_kernel_size", "values=[3,5]")
    stems = [row["modules"] for row in rows]
    of = [sum(m["macs"] for m in ms if m["name"].startswith("backbone.stem")) for ms in stems]
    assert of[0] < of[1] < 125 / 27 * of[0]


@pytest.mark.parametrize("sweep", [("voxels", "[200,0]"), ("model.a", "[1]")])
def test_a_value_that_cannot_be_ends_a_sweep_before_it_measures(sweep, capsys):
    with pytest.raises(Exception, match=r"whole numbers|model.a"):
        profile.run([*SMALL, f"sweep={sweep[0]}", f"values={sweep[1]}"])
    assert "MACs" not in capsys.readouterr().out


def test_sweeps_of_a_codebook_and_of_neighbours(tmp_path):
    path = tmp_path / "a.json"
    common = ["voxels=100", "runs=1", "warmup=1", f"out={path}"]
    profile.run(["model=ptv1", *common, "sweep=model.num_neighbors", "values=[[4,4,4,4,4]]"])
    report = json.loads(path.read_text())
    assert report["sweep"][0]["parts"]["macs"] < report["parts"]["macs"]


def test_the_largest_scene(tmp_path, capsys):
    path = tmp_path / "a.json"
    profile.run([*SMALL, "budget=0.01", f"out={path}"])
    budget = json.loads(path.read_text())["budget"]
    for trials in budget.values():
        assert 0.009 * 2**30 <= trials[-1]["need"] <= 0.01 * 2**30
    assert budget["training"][-1]["num_voxels"] < budget["inference"][-1]["num_voxels"]
    shown = capsys.readouterr().out
    assert "training: fits" in shown and "inference: tried" in shown


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["out=a.txt"], r"a\.txt must end in \.json or \.html"),
        (["sweep=voxels"], r"needs values="),
        (["sweep=voxels", "values=[0.5]"], "takes whole numbers"),
        (["sweep=channels", "values=[none]"], "factors above 0; got none"),
        (["scene=kitchen"], "scene=kitchen: expected room, street, or a scene"),
        (["scene=middle/a"], "expected room, street, or a scene"),
        (["voxels=0"], "voxels=0: expected a whole number above 0"),
        (["precision=int8"], "expected float32 or bfloat16"),
        (["budget=1e-5"], "need .* already, the budget is"),
        (["device=tpu"], "device must be cpu, cuda"),
        (["models=a"], "models"),
    ],
)
def test_wrong_options_are_named(options, expected, capsys):
    arguments = [a for a in SMALL if a.split("=")[0] not in {o.split("=")[0] for o in options}]
    with pytest.raises(Exception, match=expected):
        profile.run([*arguments, *options])


def test_scenes_of_a_data_set(data_dir, monkeypatch, capsys):
    monkeypatch.setenv("PC3D_DATA", str(data_dir))
    arguments = [a for a in SMALL if not a.startswith("voxels")]
    profile.run(
        [*arguments, "dataset=synthetic", "dataset.voxel_size=0.3", "scene=val/scene5001_00"]
    )
    assert "val/scene5001_00" in capsys.readouterr().out
    with pytest.raises(ValueError, match="split val has no scene nowhere; it has"):
        profile.run([*arguments, "dataset=synthetic", "scene=val/nowhere"])
