"""Command lines of `key=value` arguments, as all programs of the project take them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from pc3d.cli.config import compose_config


def parse_arguments(arguments: Sequence[str], options: Mapping[str, str | None]) -> dict[str, str]:
    """Values of a command line over defaults.

    Args:
        arguments: `key=value` each; the value may hold further equals signs.
        options: from key to default; None where a value must be given.

    Raises:
        ValueError: an unknown key, an argument without a value, or a missing one.
    """
    values = {key: default for key, default in options.items() if default is not None}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in options:
            raise ValueError(
                f"unknown argument {argument!r}; expected key=value with one of "
                f"{', '.join(options)}"
            )
        values[key] = value
    missing = [key for key, default in options.items() if default is None and not values.get(key)]
    if missing:
        raise ValueError(f"{' and '.join(f'{key}=...' for key in missing)} must be given")
    return values


def options_and_config(
    arguments: Sequence[str], options: Mapping[str, str]
) -> tuple[dict[str, str], DictConfig]:
    """Values of a program's own options, and the configuration that all other arguments override.

    Args:
        arguments: `key=value` each; what is no option is an override, as for `train.py`.
        options: from key to default.

    Raises:
        ValueError, HydraException: an unknown key, named in the message.
    """
    own = [argument for argument in arguments if argument.partition("=")[0] in options]
    overrides = [argument for argument in arguments if argument not in own]
    os.environ.setdefault("PC3D_DATA", str(Path("data").resolve()))
    os.environ.setdefault("PC3D_RUN_DIR", str(Path.cwd()))
    config = compose_config("config", [*overrides, "paths.run_dir=."])
    return parse_arguments(own, options), config


def flag(key: str, value: str) -> bool:
    """`true` or `false`.

    Raises:
        ValueError: another word.
    """
    words = {"true": True, "false": False}
    if value.lower() not in words:
        raise ValueError(f"{key} must be true or false; got {value!r}")
    return words[value.lower()]


def count(key: str, value: str) -> int:
    """A number that is not negative.

    Raises:
        ValueError: anything else.
    """
    if not value.isdecimal():
        raise ValueError(f"{key} must be a number, 0 or more; got {value!r}")
    return int(value)
