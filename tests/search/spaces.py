"""Small search spaces with every kind of block."""

from __future__ import annotations

from typing import Any

import torch

from pc3d.search import Supernet

BASIC = {"_target_": "pc3d.nn.BasicBlock", "_partial_": True}
CODES = [{"dilation": 2}, {}, {"dilation": 3}]
ATTENTION = {
    "_target_": "pc3d.nn.CodebookAttention",
    "_partial_": True,
    "codes": CODES,
    "groups": 4,
    "choice": {"kind": "soft"},
}
VOXEL_TR = {
    "_target_": "pc3d.nn.VoxelTransformerBlock",
    "_partial_": True,
    "attention": ATTENTION,
    "expansion": 2,
}
DWCONV = VOXEL_TR | {"attention": ATTENTION | {"codes": [{}], "choice": None}}
VOTR = {
    "_target_": "pc3d.nn.LocalAttentionBlock",
    "_partial_": True,
    "head_channels": 4,
    "window": [{}, {"shape": "cross", "dilation": 2}],
}
NETWORK = {"_target_": "pc3d.models.StagedUNet", "stem_channels": 8}
BRANCH = {"_target_": "pc3d.models.PointBranch", "_partial_": True, "dropout": 0.3}
GENES = {
    "width": [[4, 8], [8, 12], [8, 16], [4, 8]],
    "depth": [1, 2],
    "transition": [0.5, 1.0],
    "block": [["basic"], ["voxel_tr", "basic"], ["voxel_tr", "votr", "dwconv"], ["basic"]],
    "codes": [3, 2, 1],
    "groups": [2, 4],
    "expansion": [1, 2],
}
BLOCKS = {"basic": BASIC, "voxel_tr": VOXEL_TR, "votr": VOTR, "dwconv": DWCONV}


def supernet(**options: Any) -> Supernet:
    """Two stages down and two up, with every kind of block; `options` replace arguments."""
    torch.manual_seed(0)
    arguments = {"network": NETWORK, "blocks": BLOCKS, "genes": GENES, "divisor": 4}
    return Supernet(in_channels=4, num_classes=5, **(arguments | options))
