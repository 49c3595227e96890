"""What a network costs, as a web page: modules as wide as what they take, and a table to sort."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from pc3d.utils.files import write_bytes

MIB = 2**20
MEASURES: Mapping[str, tuple[str, float]] = {
    "inference": ("ms", 1e3),
    "maps": ("ms", 1e3),
    "forward": ("ms", 1e3),
    "backward": ("ms", 1e3),
    "macs": ("M", 1e-6),
    "held": ("MiB", 1 / MIB),
    "map_bytes": ("MiB", 1 / MIB),
    "parameters": ("", 1.0),
}
"""What is shown of a module: unit and factor, by the name that a report has for it."""
NAMES = {
    "inference": "inference without maps",
    "maps": "building maps",
    "forward": "forward in training",
    "macs": "MACs",
    "held": "held for the way back",
    "map_bytes": "maps",
    "parameters": "weights",
}
COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
"""One for each of the network's parts, or its backbone's, over and over."""
WHOLE = "#dddddd"


def write_profile(path: str | Path, report: Mapping[str, Any]) -> None:
    """Write a self-contained page.

    Args:
        path: the file (`.html`); replaced only when the new page is complete.
        report: of `pc3d profile`: `title`, `totals`, and `modules` in order of definition, each of
            itself alone.
    """
    text = files("visualize").joinpath("profile.html").read_text(encoding="utf-8")
    totals = report["totals"]
    page = {
        "title": report["title"],
        "subtitle": (
            f"inference {1e3 * totals['inference']:.1f} ms with maps, training step "
            f"{1e3 * (totals['forward'] + totals['backward']):.1f} ms; at most "
            f"{totals['inference_peak'] / MIB:.1f} and {totals['training_peak'] / MIB:.1f} MiB "
            "beside weights and batch"
        ),
        "measures": [
            {"name": NAMES.get(key, key), "unit": unit} for key, (unit, _) in MEASURES.items()
        ],
        "modules": inclusive(report["modules"]),
    }
    # "<" would allow a title to close the script element.
    data = json.dumps(page).replace("<", "\\u003c")
    before, rest = text.split("/*PLOTLY*/")
    between, after = rest.split("/*REPORT*/null")
    write_bytes(path, "".join((before, get_plotlyjs(), between, data, after)).encode("utf-8"))


def inclusive(modules: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the modules that cost anything, each with all that are within it."""
    sums = {module["name"]: [0.0] * len(MEASURES) for module in modules}
    for module in modules:
        own = [factor * module[key] for key, (_, factor) in MEASURES.items()]
        for name in _with_parents(module["name"]):
            sums[name] = [a + b for a, b in zip(sums[name], own, strict=True)]
    rows, colors = [], dict[str, str]()
    for module in modules:
        name = module["name"]
        if not any(sums[name]):
            continue
        part = name.removeprefix("backbone").removeprefix(".").partition(".")[0]
        color = colors.setdefault(part, COLORS[len(colors) % len(COLORS)]) if part else WHOLE
        rows.append(
            {
                "name": name,
                "label": name.rpartition(".")[2] or "network",
                "parent": name.rpartition(".")[0],
                "kind": module["kind"],
                "values": sums[name],
                "color": color,
            }
        )
    return rows


def _with_parents(name: str) -> list[str]:
    """A module's name and those of all that it is within, the network's last."""
    names = []
    while name:
        names.append(name)
        name = name.rpartition(".")[0]
    return [*names, ""]
