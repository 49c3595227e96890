"""Readers and writers of point cloud file formats."""
