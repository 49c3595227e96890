"""Small helpers that import nothing of pc3d."""
