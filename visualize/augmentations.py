"""What an augmentation does to a scene, as a web page: pictures before and after every step.

Pictures of a card have one camera and discs of one size, so that a turn looks like a turn and fewer
points like fewer points.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.sample import POINT_FIELDS, PointSample, bounds
from pc3d.data.spec import DatasetSpec
from pc3d.utils.files import write_text
from visualize.augmentation_steps import Outcome, Step, Unfit
from visualize.geometry import check_cloud, core_box, overview, point_spacing
from visualize.palette import class_colors, ramp_places, ramp_table
from visualize.picture_raster import Frame
from visualize.render import encode_png, render_panels

SIZE = (460, 350)
"""Width and height of a picture in pixels."""
ORIGINAL = "original"
_LABELS = "ground truth"
_SCENES = "scenes"
_OWN, _FOREIGN = (120, 138, 160), (224, 122, 44)
_LOW_BITS = np.uint8(3)  # of colours; without them half the bytes, and nobody sees it
_FRAMING_POINTS = 20_000
_OVERHANG = 0.02  # of the extent: what goes beyond the original's picture and still fits into it
_WORDS = {"xyz": "coordinates", "color": "colour", "normal": "normals", "segment": "labels"}
"""Other names for fields of `PointSample`."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """What the page shows.

    Attributes:
        title: heading.
        lines: what else there is to say at the top.
        original: the scene as its file holds it.
        spec: its label space.
        pipeline: the whole augmentation: caption -> what became of the scene.
        recipe: the steps of the augmentation.
        others: transforms that it does not have.
        unfit: those that do not fit.
    """

    title: str
    lines: Sequence[str]
    original: PointSample
    spec: DatasetSpec
    pipeline: dict[str, Outcome]
    recipe: Sequence[tuple[Step, Outcome]]
    others: Sequence[tuple[Step, Outcome]]
    unfit: Sequence[Unfit]


def write_gallery(path: str | Path, gallery: Gallery) -> int:
    """Write a self-contained page; returns its number of bytes.

    Args:
        path: the file (`.html`); replaced only when the new page is complete.
        gallery: what it shows.

    Raises:
        ValueError: the scene has no points or coordinates that are NaN or infinite.
    """
    painter = _Painter(gallery.original, gallery.spec)
    page = {
        "title": gallery.title,
        "lines": list(gallery.lines),
        "sections": [
            {"id": "pipeline", "cards": [_pipeline_card(painter, gallery.pipeline)]},
            {"id": "recipe", "cards": [_card(painter, *pair) for pair in gallery.recipe]},
            {"id": "others", "cards": [_card(painter, *pair) for pair in gallery.others]},
        ],
        "unfit": [unfit._asdict() for unfit in gallery.unfit],
        "layers": painter.layers,
        "legends": painter.legends(),
        "size": SIZE,
        "images": painter.images,  # of all cards, which are made by now
    }
    text = files("visualize").joinpath("augmentations.html").read_text(encoding="utf-8")
    before, after = text.split("/*PAGE*/null")
    # "<" would allow a name to close the script element.
    data = json.dumps(page, allow_nan=False).replace("<", "\\u003c")
    text = "".join((before, data, after))
    write_text(path, text)
    return len(text.encode("utf-8"))


def _card(painter: _Painter, step: Step, outcome: Outcome) -> dict[str, Any]:
    """A step: the original, the scene that was drawn, and what became of it."""
    own = {ORIGINAL: painter.original}
    if outcome.after is not None:
        own["after"] = outcome.after
    mates = {f"drawn: {mate.name}": mate for mate in outcome.mates[:1]}
    return {
        "name": step.name,
        "place": step.place,
        "remark": step.remark,
        "parameters": step.parameters,
        "error": outcome.error,
        "pictures": painter.pictures(own, mates) if outcome.after is not None else [],
        **_table(painter.original, own),
    }


def _pipeline_card(painter: _Painter, outcomes: dict[str, Outcome]) -> dict[str, Any]:
    errors = dict.fromkeys(outcome.error for outcome in outcomes.values() if outcome.error)
    card: dict[str, Any] = {"name": "", "error": "; ".join(errors), "pictures": []}
    found = {name: o.after for name, o in outcomes.items() if o.after is not None}
    if not found:
        return card
    samples = {ORIGINAL: painter.original, **found}
    table = _table(painter.original, samples)
    cells = ["", *(f"{outcomes[name].num_voxels:,}" for name in found)]
    table["rows"].append({"name": "voxels", "cells": cells})
    return {**card, "pictures": painter.pictures(samples), **table}


class _Painter:
    """Draws samples of one scene and keeps the pictures, each once.

    Args:
        original: the scene.
        spec: its label space.
    """

    def __init__(self, original: PointSample, spec: DatasetSpec) -> None:
        check_cloud(original.xyz)
        self.original, self.spec = original, spec
        self._pictures: dict[bytes, int] = {}
        self._classes: set[int] = set()
        self._view = overview(original.xyz)
        self._frame = Frame(original.xyz, point_spacing(original.xyz))
        self._drawn_original: dict[str, int] = {}
        scalars = {"intensity": original.intensity, "height": original.xyz[:, 2]}
        self._limits = {k: np.percentile(v, (1, 99)) for k, v in scalars.items() if v is not None}

    @property
    def layers(self) -> list[str]:
        """The layers of pictures, what the network sees first."""
        return list(self._colors(self.original, False))

    @property
    def images(self) -> list[str]:
        """All pictures so far: PNG in base 64."""
        return [base64.b64encode(png).decode("ascii") for png in self._pictures]

    def legends(self) -> dict[str, list[dict[str, str]]]:
        """Of each layer that needs one, names and colours."""
        palette, names = self.spec.palette, self.spec.class_names
        found = {
            _LABELS: [(names[c], palette[c]) for c in sorted(self._classes)],
            _SCENES: [(self.original.name, _OWN), ("others", _FOREIGN)],
        }
        return {
            layer: [{"name": name, "color": _css(color)} for name, color in rows]
            for layer, rows in found.items()
        }

    def pictures(
        self, own: dict[str, PointSample], mates: dict[str, PointSample] | None = None
    ) -> list[dict[str, Any]]:
        """A picture of each sample, all with one camera: the original's, if all fit into it.

        Args:
            own: the scene, before and after, by the title of the picture.
            mates: other scenes, which come second.
        """
        mates = mates or {}
        first, *rest = own.items()
        frame = self._common_frame([*own.values(), *mates.values()])
        return [
            {"title": title, "images": self._drawn(sample, frame, title in mates)}
            for title, sample in (first, *mates.items(), *rest)
        ]

    def _drawn(self, sample: PointSample, frame: Frame, is_foreign: bool) -> dict[str, int]:
        """From a layer to the number of its image."""
        is_known = sample is self.original and frame is self._frame
        if is_known and self._drawn_original:
            return self._drawn_original
        if sample.segment is not None:
            self._classes |= {int(c) for c in np.unique(sample.segment) if c >= 0}
        layers = self._colors(sample, is_foreign)
        panels = render_panels(
            sample.xyz, list(layers.values()), size=SIZE, view=self._view, frame=frame
        )
        pngs = [encode_png(panel | _LOW_BITS) for panel in panels]
        numbers = [self._pictures.setdefault(png, len(self._pictures)) for png in pngs]
        found = dict(zip(layers, numbers, strict=True))
        if is_known:
            self._drawn_original = found
        return found

    def _common_frame(self, samples: Sequence[PointSample]) -> Frame:
        box = core_box(self.original.xyz)
        overhang = _OVERHANG * np.ptp(box, axis=0).max()
        low, high = box[0] - overhang, box[1] + overhang
        boxes = [core_box(sample.xyz) for sample in samples]
        if all((b[0] >= low).all() and (b[1] <= high).all() for b in boxes):
            return self._frame
        # Each counts the same, however few points it has.
        places = [np.linspace(0, len(s) - 1, _FRAMING_POINTS).astype(np.int64) for s in samples]
        xyz = [s.xyz[place] for s, place in zip(samples, places, strict=True)]
        return Frame(np.concatenate(xyz), self._frame.spacing)

    def _colors(self, sample: PointSample, is_foreign: bool) -> dict[str, NDArray[np.uint8]]:
        """[P, 3] of every layer; scalars on the scale of the original."""
        layers: dict[str, NDArray[np.uint8]] = {}
        if sample.color is not None:
            layers["colour"] = np.clip(sample.color.round(), 0, 255).astype(np.uint8)
        if sample.intensity is not None:
            layers["intensity"] = self._ramp("intensity", sample.intensity)
        if not layers:
            layers["height"] = self._ramp("height", sample.xyz[:, 2])
        if sample.segment is not None:
            layers[_LABELS] = class_colors(sample.segment, self.spec)
        others = (sample.row < 0) | is_foreign
        layers[_SCENES] = np.where(others[:, None], _FOREIGN, _OWN).astype(np.uint8)
        return layers

    def _ramp(self, name: str, values: NDArray[Any]) -> NDArray[np.uint8]:
        low, high = self._limits[name]
        return ramp_table()[ramp_places(values, float(low), float(high))]


def _css(color: Sequence[float]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(round(channel) for channel in color))


def _matched(before: PointSample, after: PointSample) -> tuple[NDArray[Any], NDArray[Any]]:
    """Where the scene's own points stand: positions in `after`, and those of the same in `before`.

    Points of other scenes have no row.
    """
    order = np.argsort(before.row, kind="stable")
    own = np.flatnonzero(after.row >= 0)
    return own, order[np.searchsorted(before.row, after.row[own], sorter=order)]


def changes(before: PointSample, after: PointSample) -> list[str]:
    """What a step changed, in words."""
    own, same = _matched(before, after)
    found = ["points"] if len(own) != len(before) or len(after) != len(before) else []
    for field in (name for name in POINT_FIELDS if name != "row"):
        old, new = getattr(before, field), getattr(after, field)
        if old is not None and new is not None:
            old, new = old[same], new[own]
        if not np.array_equal(old, new):
            found.append(_WORDS.get(field, field))
    if not np.array_equal(before.origin, after.origin):
        found.append("origin")
    return found


def _table(original: PointSample, samples: dict[str, PointSample]) -> dict[str, Any]:
    """A column for each sample, and the rows whose cells differ."""
    columns = [
        {"changes": ", ".join(changes(original, sample)), **_described(original, sample)}
        for sample in samples.values()
    ]
    names = dict.fromkeys(name for column in columns for name in column)
    cells = {name: [column.get(name, "") for column in columns] for name in names}
    rows = [{"name": name, "cells": row} for name, row in cells.items() if len(set(row)) > 1]
    return {"columns": list(samples), "rows": rows}


def _described(original: PointSample, sample: PointSample) -> dict[str, str]:
    low, high = bounds(sample.xyz)
    found = {
        "points": f"{len(sample):,}",
        "extent": f"{' x '.join(f'{e:.2f}' for e in high - low)} m",
        "lowest corner": f"({', '.join(f'{round(float(c), 2) + 0.0:.2f}' for c in low)})",
    }
    if sample.color is not None:
        found["mean colour"] = _css(sample.color.mean(axis=0, dtype=np.float64))
    if sample.intensity is not None:
        found["mean intensity"] = f"{sample.intensity.mean(dtype=np.float64):.4g}"
    if sample.segment is not None:
        labelled = sample.segment >= 0
        num_classes = len(np.unique(sample.segment[labelled]))
        found["labelled"] = f"{100 * labelled.mean():.1f} %, {num_classes} classes"
    if sample is original:
        return found
    own, same = _matched(original, sample)
    moved = np.linalg.norm(sample.xyz[own] - original.xyz[same], axis=1)
    if moved.any():
        found["moved"] = f"{moved.mean():.3f} m, at most {moved.max():.3f} m"
    if len(sample) > len(own):
        found["points of others"] = f"{len(sample) - len(own):,}"
    return found
