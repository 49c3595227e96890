"""The programs: `pc3d train`, `pc3d test`, `pc3d doctor`. Entry points: nothing imports them."""
