"""Lightning modules: loss, metric and optimizer around a network."""

from pc3d.tasks.segmentation import SegmentationTask

__all__ = ["SegmentationTask"]
