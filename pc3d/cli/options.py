"""Options of programs with one file in `conf/`: their help, their keys, what each may hold."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pc3d.cli.arguments import key_of, quote_paths
from pc3d.cli.config import compose_config, conf_dir


@dataclass(frozen=True)
class Kind:
    """What a key may hold.

    Attributes:
        words: the same for users.
        holds: whether a value is of the kind.
    """

    words: str
    holds: Callable[[Any], bool]


def optional(kind: Kind) -> Kind:
    """The same kind, or null."""
    return Kind(f"{kind.words}, or null", lambda value: value is None or kind.holds(value))


def list_of(kind: Kind) -> Kind:
    """Lists of this kind."""
    return Kind(
        f"a list like [a, b], each {kind.words}",
        lambda value: isinstance(value, list) and all(map(kind.holds, value)),
    )


def map_of(keys: Kind, values: Kind) -> Kind:
    """From values of one kind to those of another."""
    return Kind(
        f"a map like {{a: b}} from {keys.words} to {values.words}",
        lambda value: (
            isinstance(value, dict)
            and all(map(keys.holds, value))
            and all(map(values.holds, value.values()))
        ),
    )


FLAG = Kind("true or false", lambda value: isinstance(value, bool))
TEXT = Kind("a text that is not empty", lambda value: isinstance(value, str) and value != "")
PATH = Kind("a path", TEXT.holds)
INTEGER = Kind("a whole number", lambda value: type(value) is int)
NUMBER = Kind("a number", lambda value: type(value) in (int, float))
POSITIVE = Kind("a number above 0", lambda value: NUMBER.holds(value) and value > 0)


def read_options(name: str, arguments: Sequence[str], kinds: Mapping[str, Kind]) -> DictConfig:
    """Compose `conf/<name>.yaml` with the command line, or show that file if help is asked for.

    Args:
        name: of the file, and of the verb.
        arguments: as they came from the shell.
        kinds: of all keys.

    Raises:
        ValueError: an unknown or missing key, or a value of another kind.
        SystemExit: help was asked for.
    """
    if {"-h", "--help"} & {*arguments}:
        sys.stdout.write((conf_dir() / f"{name}.yaml").read_text(encoding="utf-8"))
        raise SystemExit(0)
    hint = f"`pc3d {name} --help` says what they are"
    for argument in arguments:
        if "=" not in argument or key_of(argument).split(".")[0] not in kinds:
            raise ValueError(
                f"{argument}: expected key=value with a key of {', '.join(kinds)}; {hint}"
            )
    options = compose_config(name, quote_paths(arguments))
    missing = [f"{key}=..." for key in kinds if OmegaConf.is_missing(options, key)]
    if missing:
        raise ValueError(f"say {' and '.join(missing)}; {hint}")
    plain = OmegaConf.to_container(options)
    assert isinstance(plain, dict)
    for key, kind in kinds.items():
        if not kind.holds(plain[key]):
            raise ValueError(f"{key}={plain[key]}: expected {kind.words}")
    return options
