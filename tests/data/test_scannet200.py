"""ScanNet from aggregation and over-segmentation: 20 and 200 classes, instances, the traps."""

from __future__ import annotations

import numpy as np
import pytest

from pc3d.data.datasets import ScanNet
from pc3d.data.specs import SCANNET20, SCANNET200
from pc3d.io.ply import read_vertices, write_vertices
from tests.data.fixtures import TSV_ROWS, tsv, write_annotated_scene, write_json, write_mesh

SCENE = "scene0000_00"
WIDE = {name: index for index, name in enumerate(SCANNET200.class_names)}
NARROW = {name: index for index, name in enumerate(SCANNET20.class_names)}
# Segment ids are numbers of vertices of the original mesh: neither contiguous nor in order.
SEGMENTS = [90210, 90210, 7, 7, 7, 31, 400, 400, 5]
OBJECTS = [
    ("office chair", [7, 400]),
    ("trashcan", [31]),  # not in the label table
    ("wall", [90210]),
]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "scannetv2-labels.combined.tsv").write_bytes(tsv())
    write_annotated_scene(tmp_path, SCENE, SEGMENTS, OBJECTS)
    return tmp_path


def classes_of(root, names, index):
    return [index[name] if name else -1 for name in names]


def test_200_classes_and_instances(root):
    sample = ScanNet(root, classes=200).read(SCENE, "train")
    names = ["wall"] * 2 + ["office chair"] * 3 + [None] + ["office chair"] * 2 + [None]
    assert sample.segment.tolist() == classes_of(root, names, WIDE)
    # The unknown category keeps its instance; the last vertex belongs to no object.
    assert sample.instance.tolist() == [2, 2, 0, 0, 0, 1, 0, 0, -1]


def test_20_classes_from_the_same_files(root):
    sample = ScanNet(root, labels="aggregation").read(SCENE, "train")
    names = ["wall"] * 2 + ["chair"] * 3 + [None] + ["chair"] * 2 + [None]
    assert sample.segment.tolist() == classes_of(root, names, NARROW)


@pytest.mark.parametrize(
    ("category", "narrow", "wide"),
    [
        ("chair", "chair", "chair"),
        ("couch", "sofa", "couch"),
        ("book", None, "book"),  # NYU40 23 is none of the 20
        ("mattress", "bed", "mattress"),
        ("backdoor", "door", None),  # id 20 is none of the 200
        ("sofa bed", None, None),  # no NYU40 id at all
        ("dishrack", None, None),  # not in the table
        (" chair ", "chair", "chair"),
    ],
)
def test_categories(root, category, narrow, wide):
    write_annotated_scene(root, SCENE, [3, 3, 4], [(category, [3])])
    for classes, index, name in ((20, NARROW, narrow), (200, WIDE, wide)):
        sample = ScanNet(root, classes, labels="aggregation").read(SCENE, "train")
        assert sample.segment.tolist() == [index[name] if name else -1] * 2 + [-1]
        assert sample.instance.tolist() == [0, 0, -1]


def test_a_segment_of_two_objects_belongs_to_the_last(root):
    write_annotated_scene(root, SCENE, [3, 3, 4, 9], [("wall", [3, 4]), ("chair", [4])])
    sample = ScanNet(root, classes=200).read(SCENE, "train")
    assert sample.segment.tolist() == classes_of(root, ["wall", "wall", "chair", None], WIDE)


def test_a_scene_without_objects_is_unlabelled(root):
    write_annotated_scene(root, SCENE, [3, 3, 4], [])
    sample = ScanNet(root, classes=200).read(SCENE, "train")
    assert sample.segment.tolist() == sample.instance.tolist() == [-1, -1, -1]


def test_of_two_aggregations_that_of_the_mesh_is_read(root):
    """`_vh_clean.aggregation.json` beside it fits the mesh before decimation."""
    folder = root / "scans" / SCENE
    expected = ScanNet(root, classes=200).read(SCENE, "train").segment
    groups = [
        {"label": "wall", "segments": [1, 2, 3, 1_000_000]},
        {"label": "wall", "segments": [8]},
    ]
    other = {"sceneId": f"scannet.{SCENE}", "segGroups": groups}
    write_json(folder / f"{SCENE}_vh_clean.aggregation.json", other)
    reader = ScanNet(root, classes=200)
    np.testing.assert_array_equal(reader.read(SCENE, "train").segment, expected)
    assert reader.source_files(SCENE)[1].name == f"{SCENE}.aggregation.json"
    write_json(folder / f"{SCENE}.aggregation.json", other)
    with pytest.raises(ValueError, match=r"0000_00\.aggregation\.json: .*belongs to another mesh"):
        reader.read(SCENE, "train")


@pytest.mark.parametrize("scene_id", [SCENE, f"scannet.{SCENE}"])
def test_the_scene_is_named_with_and_without_its_prefix(root, scene_id):
    write_annotated_scene(root, SCENE, SEGMENTS, OBJECTS, scene_id=scene_id)
    assert ScanNet(root, classes=200).read(SCENE, "train").segment[0] == WIDE["wall"]


def test_files_of_another_scene(root):
    write_annotated_scene(root, SCENE, SEGMENTS, OBJECTS, scene_id="scannet.scene0001_00")
    with pytest.raises(ValueError, match=r"aggregation\.json: sceneId is 'scene0001_00'"):
        ScanNet(root, classes=200).read(SCENE, "train")
    folder = write_annotated_scene(root, SCENE, SEGMENTS, OBJECTS)
    write_mesh(folder / f"{SCENE}_vh_clean_2.ply", np.zeros((5, 3)))
    with pytest.raises(
        ValueError, match=r"segs\.json: 9 segment ids, but the scene has 5 vertices"
    ):
        ScanNet(root, classes=200).read(SCENE, "train")


def test_files_that_are_not_there(root):
    reader = ScanNet(root, classes=200)
    mesh, aggregation, segs, _ = reader.layout.files(SCENE)
    segs.unlink()
    with pytest.raises(FileNotFoundError, match=r"0\.010000\.segs\.json"):
        reader.read(SCENE, "train")
    aggregation.unlink()
    assert reader.read(SCENE, "test").segment is None
    with pytest.raises(FileNotFoundError, match=r"aggregation\.json: the labels"):
        reader.read(SCENE, "train")
    mesh.unlink()
    with pytest.raises(FileNotFoundError, match=r"vh_clean_2\.ply"):
        reader.read(SCENE, "train")


def test_the_label_table_must_be_there_and_of_this_release(root):
    path = root / "scannetv2-labels.combined.tsv"
    rows = [{**row, "id": 1000 + number} for number, row in enumerate(TSV_ROWS)]
    path.write_bytes(tsv(rows))
    with pytest.raises(ValueError, match=r"combined\.tsv: the ids of \['wall'.* of ScanNet v2"):
        ScanNet(root, classes=200).read(SCENE, "train")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"combined\.tsv: the label table is missing"):
        ScanNet(root, classes=200).read(SCENE, "train")
    write_annotated_scene(root, "scene0707_00", SEGMENTS, [], kind="scans_test")
    test = ScanNet(root, classes=200).read("scene0707_00", "test")
    assert test.segment.tolist() == [-1] * len(SEGMENTS)


def test_200_classes_cannot_come_from_nyu40_ids(root):
    with pytest.raises(ValueError, match="classes=200 needs labels=aggregation"):
        ScanNet(root, classes=200, labels="ply")
    for wrong in ({"classes": 40}, {"labels": "tsv"}):
        with pytest.raises(ValueError, match="ScanNet: "):
            ScanNet(root, **wrong)


def test_labels_of_the_first_release_are_refused(root):
    """Its `.labels.ply` holds ids of its own table; those of the second hold NYU40 ids."""
    folder = root / "scans" / SCENE
    labels = np.array([1, 5, 39, 0, 1, 1, 1, 1, 1163], dtype=np.uint16)
    write_mesh(folder / f"{SCENE}_vh_clean_2.labels.ply", np.zeros((9, 3)), label=labels)
    with pytest.raises(
        ValueError, match=r"labels\.ply: label ids \[1163\].*another data set or rel"
    ):
        ScanNet(root).read(SCENE, "train")
    write_mesh(folder / f"{SCENE}_vh_clean_2.labels.ply", np.zeros((9, 3)), label=labels % 1000)
    with pytest.raises(ValueError, match=r"label ids \[163\]"):
        ScanNet(root).read(SCENE, "train")
    real = np.linspace(0, 1, 9, dtype=np.float32)
    write_mesh(folder / f"{SCENE}_vh_clean_2.labels.ply", np.zeros((9, 3)), label=real)
    with pytest.raises(ValueError, match="no property label of integers"):
        ScanNet(root).read(SCENE, "train")


ALIGNMENT = "0 -1 0 10 1 0 0 20 0 0 1 -0.5 0 0 0 1"  # a quarter turn, and a shift


@pytest.mark.parametrize("text", [f"axisAlignment = {ALIGNMENT} \nnumColorFrames = 9\n", "a = 1\n"])
def test_axis_alignment(root, text):
    folder = root / "scans" / SCENE
    (folder / f"{SCENE}.txt").write_text(text)
    plain = ScanNet(root, classes=200).read(SCENE, "train").xyz
    turned = ScanNet(root, classes=200, axis_align=True).read(SCENE, "train").xyz
    x, y, z = plain.T
    expected = np.stack([10 - y, 20 + x, z - 0.5], axis=1) if "axis" in text else plain
    np.testing.assert_allclose(turned, expected, rtol=1e-6)


def test_alignment_without_its_file(root):
    with pytest.raises(FileNotFoundError, match=rf"{SCENE}\.txt"):
        ScanNet(root, classes=200, axis_align=True).read(SCENE, "train")


def test_normals_of_the_mesh_turn_with_it(root):
    folder = root / "scans" / SCENE
    path = folder / f"{SCENE}_vh_clean_2.ply"
    xyz = np.zeros((9, 3))
    xyz[:3] = [[0, 0, 0], [0, 1, 0], [0, 0, 1]]  # a triangle that faces along x
    write_mesh(path, xyz, np.array([[0, 1, 2]]))
    (folder / f"{SCENE}.txt").write_text(f"axisAlignment = {ALIGNMENT}")
    sample = ScanNet(root, classes=200, normals=True).read(SCENE, "train")
    assert sample.normal[:4].tolist() == [[1, 0, 0]] * 3 + [[0, 0, 1]]
    sample = ScanNet(root, classes=200, normals=True, axis_align=True).read(SCENE, "train")
    np.testing.assert_allclose(sample.normal[:4], [[0, 1, 0]] * 3 + [[0, 0, 1]], atol=1e-7)
    assert ScanNet(root, classes=200).read(SCENE, "train").normal is None
    vertices = read_vertices(path)
    vertices["y"][1] = np.nan
    write_vertices(path, vertices, np.array([[0, 1, 2]]))
    with pytest.raises(ValueError, match=r"vh_clean_2\.ply: 1 of 9 points.*coordinates"):
        ScanNet(root, classes=200, normals=True).read(SCENE, "train")


def test_split_lists_are_all_there_or_none(root):
    (root / "Tasks" / "Benchmark").mkdir(parents=True)
    lists = root / "Tasks" / "Benchmark"
    reader = ScanNet(root, classes=200)
    assert reader.scenes("train") == [SCENE]
    (lists / "scannetv2_val.txt").write_bytes(f"\ufeff{SCENE}\r\n".encode())
    assert reader.scenes("val") == [SCENE]
    with pytest.raises(FileNotFoundError, match=r"scannetv2_train\.txt: missing"):
        reader.scenes("train")
    (lists / "scannetv2_val.txt").write_text(f"{SCENE}\n{SCENE}\n")
    with pytest.raises(ValueError, match=r"scannetv2_val\.txt: 1 scenes are listed twice"):
        reader.scenes("val")
    (lists / "scannetv2_val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileNotFoundError, match=r"1 of the 1 scenes in .*scannetv2_val\.txt"):
        reader.scenes("val")
    (lists / "scannetv2_val.txt").write_text("scene" + "0" * 5000)
    with pytest.raises(ValueError, match=r"scannetv2_val\.txt: cannot be read: File name too long"):
        reader.scenes("val")
    (lists / "scannetv2_val.txt").unlink()
    (lists / "scannetv2_val.txt").mkdir()
    with pytest.raises(ValueError, match=r"scannetv2_val\.txt: cannot be read: Is a directory"):
        reader.scenes("val")


def test_hidden_folders_are_no_scenes(root):
    (root / "scans" / ".ipynb_checkpoints").mkdir()
    (root / "scans" / ".DS_Store").touch()
    assert ScanNet(root, classes=200).scenes("train") == [SCENE]


def test_every_category_of_the_real_table_becomes_its_class(shared_data, tmp_path):
    table = shared_data / "scannet" / "scannetv2-labels.combined.tsv"
    (tmp_path / table.name).write_bytes(table.read_bytes())
    objects = [(name, [3 * index]) for index, name in enumerate(SCANNET200.class_names)]
    write_annotated_scene(tmp_path, SCENE, [3 * index for index in range(200)], objects)
    sample = ScanNet(tmp_path, classes=200).read(SCENE, "train")
    assert sample.segment.tolist() == list(range(200))
    narrow = ScanNet(tmp_path, labels="aggregation").read(SCENE, "train").segment
    assert set(narrow.tolist()) == set(range(-1, 20))
    assert narrow[WIDE["office chair"]] == NARROW["chair"]


def test_predictions_are_ids_of_the_label_table(root, tmp_path):
    write_annotated_scene(root, "scene0707_00", SEGMENTS, [], kind="scans_test")
    reader = ScanNet(root, classes=200)
    out = tmp_path / "out"
    classes = np.resize([WIDE["mattress"], WIDE["office chair"], WIDE["wall"]], len(SEGMENTS))
    reader.write_prediction(out, "scene0707_00", classes)
    assert (out / "scene0707_00.txt").read_text().split()[:3] == ["1191", "10", "1"]
    assert reader.validate(out, "test") == 1
    (out / "scene0707_00.txt").write_text("12\n" * len(SEGMENTS))
    with pytest.raises(ValueError, match=r"ids \[12\] are not legal"):
        reader.validate(out, "test")
