"""What a network may cost at most."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pc3d.search.costs import COSTS

UNITS: Mapping[str, Mapping[str, float]] = {
    "latency": {"us": 1e-6, "ms": 1e-3, "s": 1.0},
    "memory": {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "macs": {"M": 1e6, "G": 1e9, "T": 1e12},
    "parameters": {"K": 1e3, "M": 1e6, "G": 1e9},
}
"""Units of every cost, in seconds, bytes and numbers."""
_NUMBER = re.compile(r"\s*(\d+\.?\d*(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)\s*")


@dataclass(frozen=True)
class Targets:
    """The most that each cost may be.

    Args:
        limits: seconds, bytes or numbers by the name of the cost; at least one.
    """

    limits: Mapping[str, float]

    @classmethod
    def parsed(cls, given: Mapping[str, object]) -> Targets:
        """From values with units: `{"latency": "20ms", "macs": "5G"}`; None: no target.

        Raises:
            ValueError: an unknown cost or unit, no number above 0, or no target at all.
        """
        unknown = sorted(set(given) - set(COSTS))
        if unknown:
            raise ValueError(f"target.{unknown[0]}: targets are {', '.join(COSTS)}")
        limits = {key: _parsed(key, str(v)) for key, v in given.items() if v is not None}
        if not limits:
            raise ValueError("say what a network may cost: target.latency=20ms, or another target")
        return cls(limits)

    def violation(self, costs: Mapping[str, float]) -> float:
        """0 if all costs are within their limits, else the sum of the fractions beyond them."""
        return sum(max(0.0, costs[key] / limit - 1) for key, limit in self.limits.items())

    @property
    def name(self) -> str:
        """For folders: `latency-20ms_macs-5G`."""
        parts = (f"{key}-{shown(key, v).replace(' ', '')}" for key, v in self.limits.items())
        return "_".join(parts)

    def __str__(self) -> str:
        return ", ".join(f"{key} {shown(key, value)}" for key, value in self.limits.items())


def shown(key: str, value: float) -> str:
    """A cost with the unit that suits it: `"20 ms"`."""
    units = UNITS[key]
    unit = max((u for u in units if units[u] <= value), key=lambda u: units[u], default=None)
    unit = unit or min(units, key=lambda u: units[u])
    return f"{value / units[unit]:.3g} {unit}"


def _parsed(key: str, text: str) -> float:
    units = UNITS[key]
    found = _NUMBER.fullmatch(text)
    if found is None or found[2] not in units or not float(found[1]) > 0:
        raise ValueError(
            f"target.{key}={text}: expected a number above 0 with a unit of {', '.join(units)}, "
            f"such as {20 if key == 'latency' else 1}{list(units)[1]}"
        )
    return float(found[1]) * units[found[2]]
