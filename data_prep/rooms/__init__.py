"""Procedural rooms: furniture as primitives, a layout, a scanner and a ScanNet writer."""
