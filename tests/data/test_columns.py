"""What columns are taken for, and in which units they come out."""

from __future__ import annotations

import numpy as np
import pytest

from pc3d.data.collate import collate
from pc3d.data.columns import FIELDS, WIDTHS, color_scale, fields_of, to_arrays
from pc3d.data.features import point_features
from pc3d.data.transforms.mixing import join
from pc3d.data.voxelize import Voxelize

XYZ = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9], [7, 8, 10]])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("red", "green", "blue"), {"color": ("red", "green", "blue")}),
        (("B", "G", "R"), {"color": ("R", "G", "B")}),
        (
            ("diffuse_red", "diffuse_green", "diffuse_blue", "alpha"),
            {"color": ("diffuse_red", "diffuse_green", "diffuse_blue")},
        ),
        (("Red", "Green"), {}),
        (("scalar_Classification", "classification"), {"label": ("classification",)}),
        (("R", "G", "B", "r", "g", "b"), {"color": ("r", "g", "b")}),
        (("nz", "ny", "nx"), {"normal": ("nx", "ny", "nz")}),
        (("normal_x", "normal_y", "normal_z"), {"normal": ("normal_x", "normal_y", "normal_z")}),
        (("NormalX", "NormalY", "NormalZ"), {"normal": ("NormalX", "NormalY", "NormalZ")}),
        (("normal_0", "normal_1", "normal_2"), {"normal": ("normal_0", "normal_1", "normal_2")}),
        (("Intensity",), {"intensity": ("Intensity",)}),
        (("scalar_Intensity",), {"intensity": ("scalar_Intensity",)}),
        (("reflectance",), {"intensity": ("reflectance",)}),
        (("remission",), {"intensity": ("remission",)}),
        (("i",), {"intensity": ("i",)}),
        (("i", "intensity"), {"intensity": ("intensity",)}),
        (
            ("number_of_returns", "return_number"),
            {"returns": ("return_number", "number_of_returns")},
        ),
        (
            ("Return Number", "Number Of Returns"),
            {"returns": ("Return Number", "Number Of Returns")},
        ),
        (("ReturnNumber",), {}),
        (("classification", "label"), {"label": ("classification",)}),
        (("segment", "class"), {"label": ("class",)}),
        (("scalar_Label",), {"label": ("scalar_Label",)}),
        (("Label", "scalar_Label"), {"label": ("Label",)}),
        (("gps_time", "classes", "redness"), {}),
        ((), {}),
    ],
)
def test_columns_are_known_by_their_names(names, expected):
    assert fields_of(names) == expected


def test_named_columns_come_first_and_need_not_be_of_the_same_case():
    names = ("intensity", "Echo", "red", "green", "blue", "nir", "label", "Label")
    mapping = {"intensity": ["echo"], "color": ["nir", "red", "green"], "label": ["Label"]}
    assert fields_of(names, mapping) == {
        "color": ("nir", "red", "green"),
        "intensity": ("Echo",),
        "label": ("Label",),
    }
    assert fields_of(names, {"color": None}) == {"intensity": ("intensity",), "label": ("label",)}


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        (
            {"intensity": ["echo"]},
            r"f\.las: intensity is to be made of echo, but .* no column echo",
        ),
        ({"intensity": ["echo"]}, r"Its columns are red, green, label$"),
        ({"color": ["red", "green", "blau"]}, r"made of red, green, blau, but .* no column blau\."),
        ({"color": ["red", "green"]}, r"color is made of 3 columns, such as red, green, blue; got"),
        ({"label": "label"}, r"label is made of 1 columns"),
        ({"colour": ["red"]}, r"taken for color, normal, intensity, returns, label; got colour"),
    ],
)
def test_columns_that_are_refused(mapping, words):
    with pytest.raises(ValueError, match=words):
        fields_of(("red", "green", "label"), mapping, "f.las")


def test_a_field_may_be_declared_optional():
    assert fields_of(("red",), {"label": ["Class"]}, optional=("label",)) == {}
    with pytest.raises(ValueError, match="Its columns are none"):
        fields_of((), {"label": ["Class"]}, optional=("color",))


@pytest.mark.parametrize(
    ("dtype", "high", "divisor", "word"),
    [
        ("u1", 255, 1, ""),
        ("u1", 3, 1, ""),
        ("u2", 255, 1, "stay as they are"),
        ("i4", 200, 1, "int32"),
        ("u2", 256, 257, "16 bits"),
        ("u2", 65535, 257, "divided by 257"),
        ("f4", 1.0, 1 / 255, "multiplied by 255"),
        ("f4", 0.25, 1 / 255, "multiplied by 255"),
        ("f8", 1.5, 1, "stay"),
        ("f8", 255.0, 1, "stay"),
        ("f4", 255.5, 257, "16 bits"),
        ("u2", 1, 1, "stay"),
        ("u1", 0, 1, "all colours are 0"),
        ("u2", 0, 1, "all colours are 0"),
        ("f4", 0, 1, "all colours are 0"),
    ],
)
def test_scale_of_colours(dtype, high, divisor, word):
    found, remark = color_scale(np.dtype(dtype), 0, high, "f")
    assert found == divisor
    assert word in remark and bool(word) == bool(remark)


@pytest.mark.parametrize(("low", "high"), [(-1, 20), (0, 65536)])
def test_values_that_no_colours_have(low, high):
    with pytest.raises(ValueError, match=r"f\.ply: colours lie in -?\d+\.\.\d.*Are these columns"):
        color_scale(np.dtype("i4"), low, high, "f.ply")


def test_colours_with_nan_are_left_to_readers():
    assert color_scale(np.dtype("f4"), np.nan, np.nan, "f") == (1.0, "")


def test_arrays_of_every_field():
    columns = {
        "b": np.array([0, 257, 514, 65535], np.uint16),
        "r": np.array([257, 0, 1, 2], np.uint16),
        "g": np.array([771, 0, 0, 0], np.uint16),
        "nx": np.array([0.0, 0.6, 0, 1]),
        "ny": np.array([0.0, 0.8, 0, 0]),
        "nz": np.array([1.0, 0.0, 1, 0]),
        "i": np.array([0, 1024, 4096, 8192], np.uint16),
        "total": np.array([1, 3, 3, 9], np.uint8),
        "number": np.array([1, 1, 2, 5], np.uint8),
        "label": np.array([2.0, 6.0, 65.0, -1.0]),
    }
    fields = {
        "color": ("r", "g", "b"),
        "normal": ("nx", "ny", "nz"),
        "intensity": ("i",),
        "returns": ("number", "total"),
        "label": ("label",),
    }
    arrays, remarks = to_arrays(XYZ, columns, fields, {"intensity": 4096})
    assert arrays["coord"] is XYZ
    third = np.float32(1 / 257)
    expected = [[1, 3, 0], [0, 0, 1], [third, 0, 2], [2 * third, 0, 255]]
    np.testing.assert_allclose(arrays["color"], expected, rtol=1e-6)
    assert arrays["normal"].tolist()[1] == np.float32([0.6, 0.8, 0]).tolist()
    assert arrays["intensity"].tolist() == [0, 0.25, 1, 2]
    assert arrays["returns"].tolist() == [[1, 1], [1, 3], [2, 3], [5, 9]]
    assert arrays["label"].tolist() == [2, 6, 65, -1]
    types = {name: str(array.dtype) for name, array in arrays.items()}
    assert types == {
        "coord": "float64",
        "color": "float32",
        "normal": "float32",
        "intensity": "float32",
        "returns": "uint8",
        "label": "int64",
    }
    assert remarks == ["colours beyond 255 are taken for 16 bits and divided by 257"]


def test_colours_of_8_bits_are_the_same_bytes():
    columns = {c: np.array([n, 2 * n, 0, 255], np.uint8) for n, c in enumerate("rgb", 1)}
    arrays, remarks = to_arrays(XYZ, columns, {"color": tuple("rgb")})
    assert arrays["color"].tolist() == [[1, 2, 3], [2, 4, 6], [0, 0, 0], [255, 255, 255]]
    assert arrays["color"].dtype == np.uint8 and remarks == []


def test_intensity_without_a_scale_is_remarked():
    for dtype in (np.uint16, np.float64):
        columns = {"i": np.array([0, 3, 1, 2], dtype)}
        arrays, remarks = to_arrays(XYZ, columns, {"intensity": ("i",)})
        assert arrays["intensity"].tolist() == [0, 3, 1, 2]
        assert remarks == ["intensity reaches beyond 1 and stays as it is; divide_by scales it"]
    assert to_arrays(XYZ, {"i": np.ones(4)}, {"intensity": ("i",)})[1] == []


def test_parts_of_a_file_come_out_like_the_file():
    """A dark part alone would be taken for 8 bits."""
    values = np.array([1000, 65535, 90, 200], np.uint16)
    columns = {c: values for c in "rgb"}
    fields = {"color": tuple("rgb")}
    whole, _ = to_arrays(XYZ, columns, fields)
    scale, _ = color_scale(values.dtype, 90, 65535, "f")
    for rows in (slice(0, 2), slice(2, 4)):
        part, remarks = to_arrays(
            XYZ[rows], {c: v[rows] for c, v in columns.items()}, fields, {"color": scale}
        )
        np.testing.assert_array_equal(part["color"], whole["color"][rows])
        assert remarks == []
    assert to_arrays(XYZ[:0], {c: values[:0] for c in "rgb"}, fields)[0]["color"].shape == (0, 3)


@pytest.mark.parametrize("bad", [2.5, np.nan, np.inf])
@pytest.mark.filterwarnings("error")
def test_labels_that_are_no_integers(bad):
    columns = {"Klasse": np.array([1, bad, 3, bad])}
    words = rf"f\.csv: 2 of 4 values of the column Klasse are no integers \(first: {bad:g}\)"
    with pytest.raises(ValueError, match=words):
        to_arrays(XYZ, columns, {"label": ("Klasse",)}, source="f.csv")


def test_every_field_has_a_width():
    assert dict(WIDTHS) == {"color": 3, "normal": 3, "intensity": 1, "returns": 2, "label": 1}
    assert tuple(WIDTHS) == FIELDS


def test_returns_as_a_feature(make_scene):
    returns = np.float32([[1, 1], [1, 4], [4, 4], [3, 12], [0, 0], [5, 4]])
    found = point_features(make_scene(6, returns=returns), ("returns",))
    expected = [[1, 1 / 8], [1 / 4, 1 / 2], [1, 1 / 2], [1 / 4, 1], [0, 0], [1, 1 / 2]]
    np.testing.assert_allclose(found, expected)
    with pytest.raises(ValueError, match="feature 'returns' needs 'returns'"):
        point_features(make_scene(returns=None), ("returns",))
    with pytest.raises(ValueError, match="only xyz, normal, intensity, returns, segment"):
        point_features(make_scene(color=None), ("color",))


def test_returns_stay_with_their_points(make_scene):
    """Selected, mixed, voxelized, collated."""
    scene = make_scene(40)
    rows = np.array([7, 3, 3, 39])
    np.testing.assert_array_equal(scene.select(rows).returns, scene.returns[rows])
    both = join(scene, make_scene(10, seed=1, name="b").select(np.arange(2, 10)))
    np.testing.assert_array_equal(both.returns[40:], scene.returns[2:10])
    with pytest.raises(ValueError, match="has 'returns', and b has not"):
        join(scene, make_scene(10, name="b", returns=None))
    with pytest.raises(ValueError, match="returns has 39 rows"):
        make_scene(40, returns=scene.returns[:39])
    voxels = Voxelize(voxel_size=100.0, features=("returns",))(both)
    batch = collate([voxels])
    mean = np.mean([[1, 1 / 8], [1 / 3, 3 / 8], [2 / 3, 3 / 8], [5 / 9, 1]], axis=0)
    np.testing.assert_allclose(batch.voxels.feats.mean(0), mean, atol=1e-6)
