"""One file of facts per label space."""

from pc3d.data.spec import DatasetSpec
from pc3d.data.specs.scannet20 import SCANNET20
from pc3d.data.specs.semantickitti19 import SEMANTICKITTI19

SPECS: dict[str, DatasetSpec] = {spec.name: spec for spec in (SCANNET20, SEMANTICKITTI19)}

__all__ = ["SCANNET20", "SEMANTICKITTI19", "SPECS"]
