"""Procedural streets: what stands along them, a rotating LiDAR, a SemanticKITTI writer."""
