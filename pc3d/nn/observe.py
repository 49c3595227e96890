"""Seeing what modules inside a network give, for the length of a `with` block."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import nn


def observe(network: nn.Module, kind: type[nn.Module]) -> AbstractContextManager[dict[str, Any]]:
    """Collects the output of every module of a class, by its name within the network.

    The dictionary fills while the network runs within the `with` block; later runs replace earlier
    ones. Nothing stays with the network.
    """
    named = network.named_modules()
    return _observe({name: module for name, module in named if isinstance(module, kind)})


def observe_named(
    network: nn.Module, names: Collection[str]
) -> AbstractContextManager[dict[str, Any]]:
    """As `observe`, of the modules with these names; AttributeError for one that is not there."""
    return _observe({name: network.get_submodule(name) for name in names})


@contextmanager
def _observe(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Any]]:
    seen: dict[str, Any] = {}
    handles = []
    for name, module in modules.items():

        def record(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
            seen[name] = output

        handles.append(module.register_forward_hook(record))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
