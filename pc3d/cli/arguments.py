"""Command-line arguments `key=value`, split at the first `=` before Hydra sees them."""

from __future__ import annotations

import re
from collections.abc import Sequence

PATH_KEYS = (
    "run",
    "resume",
    "finetune",
    "ckpt",
    "init_from",
    "input",
    "output",
    "pred",
    "truth",
    "out",
    "classes",
    "pred_column",
    "truth_column",
    "data",
    "scene",
    "paths.data_dir",
    "paths.cache_dir",
    "dataset.reader.root",
)
"""Keys whose values are names of files or scenes: any character is legal in them."""


def key_of(argument: str) -> str:
    """The key of an override, without `+`, `++`, `~` and without Hydra's `@package`."""
    return argument.split("=", 1)[0].lstrip("+~").split("@", 1)[0]


def quote_paths(arguments: Sequence[str]) -> list[str]:
    """Quote the values of path keys, so that `ckpt=a=3 (1).ckpt` means the file of that name.

    Args:
        arguments: overrides as they came from the shell.

    Returns:
        The same overrides in Hydra's grammar.
    """
    quoted = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        plain = value in ("", "null") or value[:1] in ("'", '"') or value.startswith("${")
        if equals and key_of(argument) in PATH_KEYS and not plain:
            # Hydra unescapes backslashes only where they stand before a quote.
            escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + m[2].replace("'", "\\'"), value)
            argument = f"{key}='{escaped}'"
        quoted.append(argument)
    return quoted


def unquote(value: str) -> str:
    """The plain value of one override."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        quote = value[0]
        return re.sub(rf"(\\+)({quote}|$)", lambda m: m[1][: len(m[1]) // 2] + m[2], value[1:-1])
    return value


def find(arguments: Sequence[str], key: str) -> str | None:
    """The value of the last override of `key`, unquoted, or None; `null` counts as None."""
    values = [a.split("=", 1)[1] for a in arguments if "=" in a and key_of(a) == key]
    if not values or values[-1] in ("null", ""):
        return None
    return unquote(values[-1])


def merge(saved: Sequence[str], given: Sequence[str]) -> list[str]:
    """Overrides of a run followed by those of the command line.

    The same key counts once, and a group that is chosen anew (`dataset=...`) takes what was said of
    the old choice (`dataset.voxel_size=...`) with it.
    """
    keys = {key_of(argument) for argument in given}

    def kept(argument: str) -> bool:
        key = key_of(argument)
        return key not in keys and key.split(".", 1)[0] not in keys

    return [argument for argument in saved if kept(argument)] + list(given)
