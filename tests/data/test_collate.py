"""A batch of scenes, taken apart again."""

from __future__ import annotations

import numpy as np
import pytest

from pc3d.data.collate import collate
from pc3d.data.voxelize import Voxelize


@pytest.fixture
def samples(make_scene):
    """Three scenes of unequal size; the second is a single point."""
    voxelize = Voxelize(voxel_size=0.4, features=("color", "xyz"))
    scenes = [make_scene(n, seed=n, name=f"scene{n}") for n in (120, 1, 77)]
    return [voxelize(scene.with_(row=scene.row[::-1].copy())) for scene in scenes]


def test_every_cloud_comes_back_from_the_batch(samples):
    batch = collate(samples)
    assert batch.points.names == ("scene120", "scene1", "scene77")
    assert batch.points.offsets.tolist() == [0, 120, 121, 198]
    assert batch.voxels.coords.batch_size == 3
    indices = batch.voxels.coords.indices
    for number, sample in enumerate(samples):
        start, end = batch.points.offsets[number : number + 2]
        voxel_rows = indices[:, 0] == number
        np.testing.assert_array_equal(indices[voxel_rows][:, 1:], sample.indices)
        np.testing.assert_array_equal(batch.voxels.feats[voxel_rows], sample.feats)
        np.testing.assert_array_equal(batch.segment[voxel_rows], sample.segment)
        for field in ("xyz", "row", "segment"):
            expected = getattr(sample.points, field)
            np.testing.assert_array_equal(getattr(batch.points, field)[start:end], expected)
        np.testing.assert_array_equal(batch.points.origin[number], sample.points.origin)
        own = indices[batch.point2voxel[start:end]]
        assert (own[:, 0] == number).all()
        np.testing.assert_array_equal(own[:, 1:], sample.indices[sample.point2voxel])


def test_scenes_without_labels(samples, make_scene):
    voxelize = Voxelize(voxel_size=0.4, features=("color", "xyz"))
    bare = voxelize(make_scene(segment=None, name="bare"))
    batch = collate([bare, bare])
    assert batch.segment is None
    assert batch.points.segment is None
    with pytest.raises(ValueError, match="1 of 4 have none: bare"):
        collate([*samples, bare])


def test_empty_batch_is_refused():
    with pytest.raises(ValueError, match="at least one scene"):
        collate([])
