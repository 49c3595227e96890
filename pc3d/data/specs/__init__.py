"""One file of facts per label space."""

from pc3d.data.spec import DatasetSpec
from pc3d.data.specs.nuscenes16 import NUSCENES16
from pc3d.data.specs.s3dis13 import S3DIS13
from pc3d.data.specs.scannet20 import SCANNET20
from pc3d.data.specs.scannet200 import SCANNET200
from pc3d.data.specs.semantickitti19 import SEMANTICKITTI19, SEMANTICKITTI19_SPVNAS

SPECS: dict[str, DatasetSpec] = {
    spec.name: spec
    for spec in (
        SCANNET20,
        SCANNET200,
        S3DIS13,
        SEMANTICKITTI19,
        SEMANTICKITTI19_SPVNAS,
        NUSCENES16,
    )
}

__all__ = [
    "NUSCENES16",
    "S3DIS13",
    "SCANNET20",
    "SCANNET200",
    "SEMANTICKITTI19",
    "SEMANTICKITTI19_SPVNAS",
    "SPECS",
]
