"""One file per format of point clouds; `pc3d.io.cloud` is the door to them."""
