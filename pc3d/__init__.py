"""pc3d: train, test and inspect 3D semantic segmentation networks on point clouds."""

__version__ = "0.1.0"
