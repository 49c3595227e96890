"""The description of a data set of one's own, and what is wrong with one."""

from __future__ import annotations

import numpy as np
import pytest

from pc3d.data.datasets import Custom
from pc3d.data.datasets.description_yaml import find_description, read_description
from pc3d.data.spec import IGNORE_INDEX
from tests.data.test_custom import YAML, describe


def test_default_colours_differ_from_those_that_are_given_and_do_not_end(tmp_path):
    lines = [f"  c{i}: {{ids: [{i}]}}\n" for i in range(40)]
    lines[30] = "  c30: {ids: [30], color: [230, 159, 0]}\n"
    path = describe(tmp_path, "name: a\nclasses:\n" + "".join(lines))
    palette = read_description(path).spec.palette
    assert len(set(palette)) == 40
    assert palette[30] == (230, 159, 0) and palette[0] == (86, 180, 233)
    assert all(0 <= channel <= 255 for color in palette for channel in color)


def test_the_label_map_against_a_loop(tmp_path):
    text = "name: a\nclasses: {x: {ids: [-3, 900]}, y: {ids: [16777215]}}\nignore: [0, 65535]\n"
    description = read_description(describe(tmp_path, text))
    ids = np.random.default_rng(0).choice([-3, 900, 16777215, 0, 65535], 300)
    known = {-3: 0, 900: 0, 16777215: 1, 0: IGNORE_INDEX, 65535: IGNORE_INDEX}
    found = description.to_class(ids, "f")
    assert found.tolist() == [known[i] for i in ids.tolist()]
    assert found.dtype == np.int64
    assert description.to_class(ids[:0], "f").shape == (0,)


def test_single_scans_of_a_sensor(tmp_path):
    assert read_description(describe(tmp_path, YAML + "sensor: lidar\n")).spec.sensor == "lidar"


def test_settings_follow_from_what_decides_over_the_arrays(tmp_path):
    base = Custom(tmp_path, describe(tmp_path)).settings
    same = YAML.replace("my3", "x").replace("tree", "bush").replace("[168, 128, 90]", "[1, 2, 3]")
    assert Custom(tmp_path, describe(tmp_path, same)).settings == base
    for old, new in (
        ("[3, 4]", "[3]"),
        ("[0, 7]", "[0]"),
        ("[0, 7]", "others"),
        ("ignore", "columns: {color: null}\nignore"),
        ("ignore", "intensity: {divide_by: 2}\nignore"),
        ("ignore", "names: [x, y, z]\nignore"),
    ):
        assert Custom(tmp_path, describe(tmp_path, YAML.replace(old, new))).settings != base, new


G = "name: a\nclasses: {g: {"
CLASSES = G + "ids: [2]}}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"dataset\.yaml: expected keys \(name, classes, .*\) with values; got None"),
        ("- a\n- b\n", r"expected keys .*; got \['a', 'b'\]"),
        ("name: a\n", r"dataset\.yaml: classes is missing\. A description looks like\n  name: my5"),
        ("classes: {g: {ids: [2]}}\n", r"dataset\.yaml: name is missing"),
        ("name: a\nclasses:\n\tground: {ids: [2]}\n", r"dataset\.yaml:3: not valid YAML: .*tabs"),
        ("name: a\nclasses: {g: [2\n", r"dataset\.yaml:3: not valid YAML: .*expected"),
        ("name: a\nclasses: &a {g: *a}\n", r"dataset\.yaml"),
        (
            "name: !!python/object/apply:os.getcwd []\n",
            r"dataset\.yaml:1: not valid YAML: could not",
        ),
        ("name: a\nname: b\n", r"dataset\.yaml:2: not valid YAML: 'name' stands there twice"),
        (
            "name: a\nclasses:\n  g: {ids: [2]}\n  h: {ids: [3]}\n  g: {ids: [4]}\n",
            r"dataset\.yaml:5: not valid YAML: 'g' stands there twice",
        ),
        ("name: 5\nclasses: {g: {ids: [2]}}\n", r"dataset\.yaml: name: expected text; got 5"),
        ("name: a\nclases: {g: {ids: [2]}}\n", r"unknown key 'clases'\. Is 'classes' meant\? Exp"),
        (CLASSES + "colour: 1\n", r"dataset\.yaml: unknown key 'colour'.*Expected name, classes"),
        (
            "name: a\nclasses: {}\n",
            r"dataset\.yaml: classes: expected keys \(text\) with values; got",
        ),
        ("name: a\nclasses: [g, h]\n", r"classes: expected keys .*; got \['g', 'h'\]"),
        (
            "name: a\nclasses: {g: 2}\n",
            r"classes\.g: expected keys \(ids, color\) with values; got 2",
        ),
        ("name: a\nclasses: {2: {ids: [2]}}\n", r"classes: expected text as key; got 2\. Put it"),
        ("name: a\nclasses: {no: {ids: [2]}}\n", r"classes: expected text as key; got False"),
        ("name: a\nclasses: {' ': {ids: [2]}}\n", r"classes: expected text as key; got ' '"),
        (G + "color: [1, 2, 3]}}\n", r"classes\.g: ids is missing, e\.g\. \{ids"),
        (G + "id: [2]}}\n", r"classes\.g: unknown key 'id'\. Is 'ids' meant"),
        (G + "ids: 2}}\n", r"classes\.g\.ids: expected the ids .*; got 2"),
        (G + "ids: []}}\n", r"classes\.g\.ids: expected the ids .*; got \[\]"),
        (G + "ids: [2.0]}}\n", r"classes\.g\.ids: expected .*integers.*got 2\.0"),
        (G + "ids: [yes]}}\n", r"classes\.g\.ids: expected .*integers.*got True"),
        (G + "ids: [99999999]}}\n", r"g\.ids: .* -16777215\.\.16777215; got 9999"),
        (
            G + "ids: [2, 3]}, h: {ids: [4, 3]}}\n",
            r"classes\.h\.ids: the id 3 stands there twice, in g and h",
        ),
        (G + "ids: [2, 2]}}\n", r"the id 2 stands there twice, in g and g"),
        (
            G + "ids: [2], color: [1, 2, 256]}}\n",
            r"classes\.g\.color: expected red, green, blue, integers of 0\.\.255; got 256",
        ),
        (G + "ids: [2], color: [1, 2]}}\n", r"\[red, green, blue\]; got \[1, 2\]"),
        (G + "ids: [2], color: red}}\n", r"g\.color: expected \[red.*got 'red'"),
        (G + "ids: [2], color: [0.5, 0, 0]}}\n", r"integers of 0\.\.255; got 0\.5"),
        (CLASSES + "ignore: other\n", r"ignore: expected ids, or `others`; got 'other'"),
        (CLASSES + "ignore: [a]\n", r"ignore: expected ids, integers .*; got 'a'"),
        (CLASSES + "ignore: [0, 2]\n", r"ignore: \[2\] are also ids of the class g"),
        (CLASSES + "columns: {lable: a}\n", r"columns: unknown key 'lable'\. Is 'label' meant"),
        (
            CLASSES + "columns: {label: 3}\n",
            r"columns\.label: expected the name of a column; got 3",
        ),
        (CLASSES + "columns: {label: null}\n", r"columns\.label: expected the name .*; got None"),
        (
            CLASSES + "columns: {color: red}\n",
            r"columns\.color: .* names of 3 columns, or null; got",
        ),
        (
            CLASSES + "columns: {returns: [a]}\n",
            r"returns: expected the names of 2 columns, or null",
        ),
        (CLASSES + "names: [x, y, label]\n", r"names: expected x, y and z among the names .*; got"),
        (
            CLASSES + "names: x\n",
            r"names: expected names of columns, x, y and z among them; got 'x'",
        ),
        (
            CLASSES + "intensity: 4096\n",
            r"intensity: expected keys \(divide_by\) with values; got 409",
        ),
        (
            CLASSES + "intensity: {divide_by: 0}\n",
            r"intensity\.divide_by: .* number above 0; got 0",
        ),
        (CLASSES + "intensity: {divide_by: .nan}\n", r"intensity\.divide_by: .*above 0; got nan"),
        (CLASSES + "intensity: {divide_by: a}\n", r"intensity\.divide_by: .*above 0; got 'a'"),
        (CLASSES + "splits: {trian: [a]}\n", r"splits: unknown key 'trian'\. Is 'train' meant"),
        (
            CLASSES + "splits: {train: a.laz}\n",
            r"splits\.train: expected files or patterns.*'a\.laz'",
        ),
        (
            CLASSES + "splits: {train: []}\n",
            r"splits\.train: expected files or patterns .*got \[\]",
        ),
        (CLASSES + "splits: {train: [/a.laz]}\n", r"splits\.train: expected .*; got '/a\.laz'"),
        (
            CLASSES + "splits: {train: [../a.laz]}\n",
            r"splits\.train: expected .*; got '\.\./a\.laz'",
        ),
        (CLASSES + "splits: {train: ['a**/b']}\n", r"splits\.train: expected .*; got 'a\*\*/b'"),
        (CLASSES + "splits: {train: ['a\\b']}\n", r"splits\.train: expected .*; got 'a"),
        (CLASSES + "splits: {train: ['.']}\n", r"splits\.train: expected .*; got '\.'"),
        (CLASSES + "sensor: radar\n", r"sensor: expected lidar, .*; got 'radar'"),
        ("\x00\x01", r"dataset\.yaml: not valid YAML"),
        ("a: 2021-99-99\n", r"dataset\.yaml: not valid YAML: month"),
        ("? [a]\n: 1\n", r"dataset\.yaml:1: not valid YAML: found unhashable key"),
    ],
)
def test_descriptions_that_are_refused(tmp_path, text, words):
    path = describe(tmp_path, text)
    with pytest.raises(ValueError, match=words) as error:
        read_description(path)
    assert str(error.value).startswith(str(path))


def test_a_folder_in_place_of_the_description(tmp_path):
    (tmp_path / "dataset.yaml").mkdir()
    with pytest.raises(FileNotFoundError, match="there is no description"):
        find_description(tmp_path, "dataset.yaml")
    with pytest.raises(ValueError, match="cannot be read"):
        read_description(tmp_path / "dataset.yaml")
