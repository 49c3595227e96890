"""Objects from a configuration that somebody else may have written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hydra.utils import get_object, instantiate


def build_trusted(config: Any, packages: Sequence[str], source: str, **arguments: Any) -> Any:
    """Instantiate a configuration whose `_target_`s are classes of the given packages only.

    A checkpoint says by `_target_` what network it is for. Whoever reads one from elsewhere must
    not run what it names.

    Args:
        config: plain dicts, lists and values, without interpolations.
        packages: such as `"pc3d.nn"`; modules below them count.
        source: where the configuration comes from, named in errors.
        **arguments: further arguments of the outermost target.

    Raises:
        ValueError: a target outside the packages, or an interpolation.
    """
    for target in _targets(config, source):
        if not _is_class_of(target, packages):
            raise ValueError(
                f"{source} wants to build {target!r}; only classes of {', '.join(packages)} are "
                "built from a file. Nothing was run."
            )
    return instantiate(config, _convert_="all", **arguments)


def _targets(node: Any, source: str) -> Iterator[Any]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _targets(item, source)
    elif isinstance(node, str) and "${" in node:
        raise ValueError(f"{source} holds the interpolation {node!r}; expected plain values")


def _is_class_of(target: Any, packages: Sequence[str]) -> bool:
    if not isinstance(target, str) or not _is_below(target, packages):
        return False  # before anything is imported
    try:
        found = get_object(target)
    except (ImportError, AttributeError, ValueError):
        return False
    # A module of ours leads to others: `pc3d.models.checkpoint.pickle.loads`.
    return isinstance(found, type) and _is_below(found.__module__, packages)


def _is_below(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)
