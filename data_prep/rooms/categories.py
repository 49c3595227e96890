"""The categories of generated objects: raw name and NYU40 id, as ScanNet's annotation has them."""

from __future__ import annotations

from data_prep.rooms.shapes import Category

WALL = Category("wall", 1)
FLOOR = Category("floor", 2)
CABINET = Category("cabinet", 3)
BED = Category("bed", 4)
CHAIR = Category("chair", 5)
SOFA = Category("sofa", 6)
TABLE = Category("table", 7)
DOOR = Category("door", 8)
WINDOW = Category("window", 9)
BOOKSHELF = Category("bookshelf", 10)
PICTURE = Category("picture", 11)
COUNTER = Category("counter", 12)
DESK = Category("desk", 14)
CURTAIN = Category("curtain", 16)
REFRIGERATOR = Category("refrigerator", 24)
SHOWER_CURTAIN = Category("shower curtain", 28)
TOILET = Category("toilet", 33)
SINK = Category("sink", 34)
BATHTUB = Category("bathtub", 36)
# Raw categories that ScanNet counts as otherfurniture.
TRASH_CAN = Category("trash can", 39)
TV_STAND = Category("tv stand", 39)
RADIATOR = Category("radiator", 39)
OTTOMAN = Category("ottoman", 39)
# Outside the 20 classes of the benchmark: ignored in training and evaluation.
CEILING = Category("ceiling", 22)
TV = Category("tv", 25)
BOX = Category("box", 29)
BAG = Category("bag", 37)
PLANT = Category("plant", 40)
MONITOR = Category("monitor", 40)
ROD = Category("rod", 40)
BEAM = Category("beam", 38)
COLUMN = Category("column", 38)
BOARD = Category("whiteboard", 30)
LAMP = Category("lamp", 35)
RUG = Category("rug", 40)
# Vertices that nobody annotated: no entry in the aggregation file.
UNANNOTATED = Category("", 0)
