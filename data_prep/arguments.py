"""Command lines of `key=value` arguments, as all programs of the project take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


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
