"""How well the networks of a supernet label scenes that its training did not see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pc3d.metrics import ConfusionMatrix, scores
from pc3d.profiling.batches import maker
from pc3d.search.arch import ArchSpec
from pc3d.search.calibration import recalibrate
from pc3d.search.records import Records
from pc3d.search.shared import SharedNetworks
from pc3d.sparse import Batch
from pc3d.tasks.tiling import predict_points


class Fitness:
    """mIoU of networks on held-out scenes, with running statistics of their own.

    All networks are recalibrated with the same batches and scored on the same scenes.

    Args:
        supernet: trained.
        calibration: batches of training data, on the CPU.
        scenes: whole held-out scenes with labels, on the CPU.
        device: where networks run.
        records: where scores are kept.
        max_voxels: larger scenes are tiled.

    Raises:
        ValueError: no batches or no scenes.
    """

    def __init__(
        self,
        supernet: SharedNetworks,
        calibration: Sequence[Batch],
        scenes: Sequence[Batch],
        device: torch.device,
        records: Records,
        max_voxels: int = 1_000_000,
    ) -> None:
        if not calibration or not scenes:
            raise ValueError(
                f"a search needs training batches and held-out scenes; got {len(calibration)} and "
                f"{len(scenes)}"
            )
        self.supernet, self.device, self.records = supernet, device, records
        self.max_voxels = max_voxels
        self._calibration = [maker(batch, device) for batch in calibration]
        self._scenes = [maker(batch, device) for batch in scenes]

    def network(self, arch: ArchSpec) -> nn.Module:
        """The ordinary network, recalibrated, in evaluation."""
        network = self.supernet.extract(arch).to(self.device).eval()
        recalibrate(network, (make() for make in self._calibration))
        return network

    def of(self, arch: ArchSpec) -> float:
        """mIoU over all points of the scenes; computed if there is no record."""
        found = self.records.get(arch)
        if found is None:
            found = {"miou": self.score(self.network(arch))}
            self.records.put(arch, found)
        return float(found["miou"])

    @torch.no_grad()
    def score(self, network: Any) -> float:
        """mIoU of a network in evaluation, all points of all scenes in one confusion matrix.

        Of the classes that these scenes have: few scenes lack some, and one point that is taken for
        such a class would count as a class with an IoU of 0.
        """
        matrix = ConfusionMatrix(self.supernet.num_classes).to(self.device)
        for make in self._scenes:
            batch = make()
            assert batch.points.segment is not None
            classes = predict_points(network, batch, self.max_voxels).argmax(dim=1)
            matrix.update(classes, batch.points.segment)
        return float(scores(matrix.compute(), "labelled").miou)
