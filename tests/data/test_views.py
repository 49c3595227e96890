"""Views: what they do to coordinates and normals, exactly where it can be exact."""

from __future__ import annotations

import numpy as np
import pytest
from hydra.utils import instantiate

from pc3d.cli.config import compose_config, conf_dir
from pc3d.data.sample import PointSample
from pc3d.data.views import View, Voting, list_views
from pc3d.data.voxelize import Voxelize


def scene_at(xyz, normal=None) -> PointSample:
    xyz = np.array(xyz, dtype=np.float32)
    return PointSample("scene", xyz, np.zeros(3), np.arange(len(xyz)), normal=normal)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View(angle=90), [-2, 1, 3]),
        (View(angle=180), [-1, -2, 3]),
        (View(angle=270), [2, -1, 3]),
        (View(angle=-90), [2, -1, 3]),
        (View(scale=0.5), [0.5, 1, 1.5]),
        (View(flip="x"), [-1, 2, 3]),
        (View(flip="y"), [1, -2, 3]),
        (View(flip="xy"), [-1, -2, 3]),
        (View(angle=90, scale=2, flip="x"), [4, 2, 6]),  # turned first, mirrored last
        (View(angle=90, flip="y"), [-2, -1, 3]),
    ],
)
def test_by_hand(view, expected):
    assert view(scene_at([[1, 2, 3]])).xyz.tolist() == [expected]


def test_an_angle_that_is_no_quarter_turn():
    seen = View(angle=30)(scene_at([[2, 0, 1]]))
    np.testing.assert_allclose(seen.xyz, [[3**0.5, 1, 1]], rtol=1e-6)


@pytest.mark.parametrize("angle", [90, 180, 270, 450])
def test_quarter_turns_keep_points_on_the_edges_of_voxels(angle):
    """x = 0 or y = 0 stay exactly zero: 6e-17 would put them into another voxel."""
    seen = View(angle=angle)(scene_at([[3, 0, 0], [0, 5, 0], [0.1, 0.7, 0]]))
    assert sorted(np.abs(seen.xyz[:2]).ravel().tolist()) == [0, 0, 0, 0, 3, 5]
    assert sorted(np.abs(seen.xyz[2]).tolist()) == [0, np.float32(0.1), np.float32(0.7)]


def test_a_quarter_turn_is_the_turned_scene(make_scene):
    """Its voxels are those of a scene turned by hand, its points keep their order."""
    scene = make_scene()
    turned = scene.with_(
        xyz=np.stack([-scene.xyz[:, 1], scene.xyz[:, 0], scene.xyz[:, 2]], axis=1),
        normal=np.stack([-scene.normal[:, 1], scene.normal[:, 0], scene.normal[:, 2]], axis=1),
    )
    voxelize = Voxelize(voxel_size=0.3, features=("xyz", "normal", "height", "color"))
    seen, expected = voxelize(View(angle=90)(scene)), voxelize(turned)
    np.testing.assert_array_equal(seen.indices, expected.indices)
    np.testing.assert_array_equal(seen.feats, expected.feats)
    np.testing.assert_array_equal(seen.point2voxel, expected.point2voxel)
    np.testing.assert_array_equal(seen.points.row, scene.row)


def test_normals_turn_and_mirror_but_do_not_grow():
    normal = np.array([[0.6, 0.0, 0.8]], dtype=np.float32)
    seen = View(angle=90, scale=3, flip="y")(scene_at([[1, 1, 1]], normal))
    np.testing.assert_allclose(seen.normal, [[0.0, -0.6, 0.8]], atol=1e-7)
    assert seen.normal.dtype == seen.xyz.dtype == np.float32


def test_the_identity_is_the_sample_itself(make_scene):
    scene = make_scene()
    assert View()(scene) is scene
    before = scene.xyz.copy()
    View(angle=45, scale=1.1, flip="x")(scene)
    np.testing.assert_array_equal(scene.xyz, before)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"scale": 0.0}, "positive scale; got 0.0, 0.0"),
        ({"scale": float("nan")}, "positive scale"),
        ({"angle": float("inf")}, "finite angle"),
        ({"flip": "z"}, "flip must be one of '', 'x', 'y', 'xy'; got 'z'"),
    ],
)
def test_wrong_values(wrong, expected):
    with pytest.raises(ValueError, match=expected):
        View(**wrong)


def test_wrong_lists():
    with pytest.raises(ValueError, match=r"keys angle, flip, scale; got \{'turn': 3\}"):
        list_views([{"turn": 3}])
    with pytest.raises(ValueError, match="at least one view"):
        list_views([])


def test_voting_has_a_name_that_says_the_protocol():
    two = (View(), View(flip="x"))
    assert Voting().is_single_pass and Voting(views=(View(angle=0),)).is_single_pass
    names = {
        "": Voting(),
        "_fragments": Voting(fragments=True),
        "_tta1": Voting(views=(View(flip="x"),)),
        "_tta2": Voting(views=two),
        "_tta2_fragments": Voting(views=two, fragments=True),
    }
    assert {voting.suffix: voting for voting in names.values()} == names
    assert "one pass without" in Voting().describe()
    for voting in list(names.values())[1:]:
        assert not voting.is_single_pass
        assert ("fragments" in voting.describe()) == voting.fragments
        assert f"{len(voting.views)} view" in voting.describe()
        assert "every original point" in voting.describe()


# fmt: off
PUBLISHED = {
    "none": [(0, 1, "")],
    "rotations4": [(0, 1, ""), (90, 1, ""), (180, 1, ""), (270, 1, "")],
    "scannet13": [
        *((angle, scale, "") for scale in (1, 0.95, 1.05) for angle in (0, 90, 180, 270)),
        (0, 1, "xy"),
    ],
    "s3dis10": [(0, s, flip) for flip in ("", "xy") for s in (0.9, 0.95, 1, 1.05, 1.1)],
}
# fmt: on
PUBLISHED["kitti4"] = PUBLISHED["rotations4"]


def test_the_configured_views_are_the_published_ones():
    assert {path.stem for path in (conf_dir() / "tta").glob("*.yaml")} == set(PUBLISHED)
    for name, expected in PUBLISHED.items():
        views = instantiate(compose_config("test", ["run=x", f"tta={name}"]).tta)
        assert [(v.angle, v.scale, v.flip) for v in views] == expected, name
