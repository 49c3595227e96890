"""The votes of a scene: softmax scores, summed at every point over views and fragments."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pc3d.data.view_dataset import ViewBatch
from pc3d.data.views import Voting
from pc3d.models.api import SegmentationModel
from pc3d.sparse import Batch, PointBatch, SparseTensor
from pc3d.tasks.tiling import predict_points


class SceneVotes:
    """Classes of the points of one scene after the other, from the views as they come.

    It holds one [P, num_classes] sum at a time, beside one forward pass.

    Args:
        network: in evaluation mode.
        voting: what the views are, and whether they are cut into fragments.
        max_voxels: budget of one forward pass, see `predict_points`.
    """

    def __init__(self, network: SegmentationModel, voting: Voting, max_voxels: int) -> None:
        self._network, self._voting, self._max_voxels = network, voting, max_voxels
        self._scene = ""
        self._sum: Tensor | None = None

    def add(self, view: ViewBatch) -> Tensor | None:
        """Let the network see a view of a scene.

        Returns:
            With the scene's last view [P] int64, the class of every point in input order; else
            None.
        """
        if self._voting.is_single_pass:
            return predict_points(self._network, view.batch, self._max_voxels).argmax(dim=1)
        (scene,) = view.batch.points.names
        if view.view == 0:
            self._scene, self._sum = scene, None
        assert scene == self._scene, f"views of {scene} among those of {self._scene}"
        for rows, batch in self._passes(view):
            scores = predict_points(self._network, batch, self._max_voxels).softmax(dim=1)
            if self._sum is None:
                self._sum = scores.new_zeros(view.batch.points.num_points, scores.shape[1])
            self._sum[rows] += scores
        if view.view + 1 < view.num_views:
            return None
        assert self._sum is not None
        return self._sum.argmax(dim=1)

    def _passes(self, view: ViewBatch) -> Iterator[tuple[Tensor | slice, Batch]]:
        if not self._voting.fragments:
            yield slice(None), view.batch
            return
        assert view.feats is not None
        yield from fragments(view.batch, view.feats)


def fragments(batch: Batch, feats: Tensor) -> Iterator[tuple[Tensor, Batch]]:
    """Cut a scene into batches in which every voxel is shown by one of its points.

    In fragment i a voxel of m points is shown by its point i modulo m, in input order. There are as
    many fragments as the fullest voxel has points, so that each point is in one at least. They have
    the coordinates, and so the kernel maps, in common.

    Args:
        batch: P points of one scene in N voxels.
        feats: [P, C], the features of the points.

    Yields:
        [N] int64, the point that shows each voxel, and the batch of these points.
    """
    coords = batch.voxels.coords
    order = batch.point2voxel.argsort(stable=True)
    counts = batch.point2voxel.bincount(minlength=len(coords))
    starts = counts.cumsum(0) - counts
    for i in range(int(counts.max())):
        rows = order[starts + i % counts]
        yield (
            rows,
            Batch(
                points=_points_at(batch.points, rows),
                voxels=SparseTensor(coords, feats[rows]),
                point2voxel=torch.arange(len(rows), device=rows.device),
            ),
        )


def _points_at(points: PointBatch, rows: Tensor) -> PointBatch:
    """The points at `rows` ([Q] int64) of a batch of one scene, in that order, unlabelled."""
    return PointBatch(
        names=points.names,
        offsets=torch.tensor([0, len(rows)], device=rows.device),
        xyz=points.xyz[rows],
        origin=points.origin,
        row=points.row[rows],
    )
