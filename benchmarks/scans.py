"""From a scan in a file to a batch with all kernel maps, step by step."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pc3d.data.collate import collate
from pc3d.data.datasets import SemanticKITTI
from pc3d.data.sample import PointSample, VoxelSample
from pc3d.data.voxelize import Voxelize
from pc3d.io.semantickitti import scan_path
from pc3d.sparse import Batch, CoordSet, KernelSpec
from pc3d.utils.files import write_bytes

VOXEL_SIZE = 0.05  # metres
FEATURES = ("xyz", "intensity")
NUM_DOWN = 4  # strided convolutions of the U-Net
SHARED_DATA = "PC3D_SHARED_DATA"


@dataclass(frozen=True)
class Scan:
    """A scan in the layout of SemanticKITTI.

    Attributes:
        name: of its row in the tables.
        root: the folder that holds `sequences/`.
        scene: `"<sequence>/<frame>"`.
    """

    name: str
    root: Path
    scene: str

    def read(self) -> PointSample:
        """The points, with labels where there are any."""
        # Of the test split, since there a scan may lack labels.
        return SemanticKITTI(self.root).read(self.scene, "test")

    def num_points(self) -> int:
        """P."""
        return len(self.read())

    def points(self) -> Tensor:
        """[P, 3] float32 metres."""
        return torch.from_numpy(self.read().xyz)

    def steps(self) -> dict[str, Callable[[], object]]:
        """What is timed, in order; the last is all of it."""
        voxelize = Voxelize(voxel_size=VOXEL_SIZE, features=FEATURES)
        sample = self.read()
        voxels = voxelize(sample)
        batch = collate([voxels])

        def voxelized() -> VoxelSample:
            return voxelize(sample)

        def collated() -> Batch:
            return collate([voxels])

        def mapped() -> None:
            batch.voxels.coords.clear()
            build_maps(batch.voxels.coords)

        def everything() -> Batch:
            ready = collate([voxelize(self.read())])
            build_maps(ready.voxels.coords)
            return ready

        return {
            "read": self.read,
            "voxelize": voxelized,
            "collate": collated,
            "all maps": mapped,
            "file to batch and maps": everything,
        }


def build_maps(coords: CoordSet) -> None:
    """All kernel maps of a U-Net: 3x3x3 on five levels and 2x2x2 between them."""
    for _ in range(NUM_DOWN):
        coords.neighbors(KernelSpec(3))
        coords, _ = coords.down()
    coords.neighbors(KernelSpec(3))


def find_scan(folder: str) -> Scan | None:
    """A real scan: the first one below `folder`, or of the usual places if that is empty.

    Raises:
        ValueError: `folder` is given and has no scan in it.
    """
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(folder) if folder else Path(os.environ.get(SHARED_DATA, shared)) / "semantickitti"
    paths = sorted(root.glob("sequences/*/velodyne/*.bin"))
    if not paths:
        if folder:
            raise ValueError(f"kitti={folder} has no scans (sequences/<number>/velodyne/*.bin)")
        return None
    scene = f"{paths[0].parts[-3]}/{paths[0].stem}"
    return Scan(f"SemanticKITTI {scene}", root, scene)


def write_scan(root: Path, points: Tensor) -> Scan:
    """Write points ([P, 3] metres) as a scan without labels, remission 0, below `root`."""
    values = np.zeros((len(points), 4), dtype="<f4")
    values[:, :3] = points.numpy()
    scene = "00/000000"
    write_bytes(scan_path(root, scene), values.tobytes())
    return Scan("lidar", root, scene)
