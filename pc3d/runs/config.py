"""Configurations of runs side by side: in which keys they differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_NO_PART = ("paths.", "logger.", "callbacks.progress.", "resume", "finetune")
"""Of what is trained: where files go, what is shown, which run `init_from` and the rest are of."""
_PLACES = ("run_dir", "cache_dir", "data_dir")
MISSING = "-"
"""Stands for a key that a configuration does not have."""


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a resolved configuration under dotted keys; `augment.train.1.p` is in a list.

    Lists of plain values are values. Paths begin with `<data_dir>` and such where `paths` names
    the folder, so that they are alike wherever a run was.
    """
    named = config["paths"]
    places = {str(named[name]): f"<{name}>" for name in _PLACES if named.get(name)}
    values: dict[str, Any] = {}
    _flatten(config, "", places, values)
    return values


def _flatten(node: Any, key: str, places: Mapping[str, str], values: dict[str, Any]) -> None:
    dot = f"{key}." if key else ""
    if isinstance(node, dict) and node:
        for name, value in node.items():
            _flatten(value, f"{dot}{name}", places, values)
    elif isinstance(node, list) and any(isinstance(value, dict) for value in node):
        for number, value in enumerate(node):
            _flatten(value, f"{dot}{number}", places, values)
    elif isinstance(node, str) and not key.startswith("paths."):
        values[key] = _portable(node, places)
    else:
        values[key] = node


def _portable(value: str, places: Mapping[str, str]) -> str:
    for place in sorted(places, key=len, reverse=True):
        if value == place or value.startswith((f"{place}/", f"{place}\\")):
            return places[place] + value[len(place) :]
    return value


def trained(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What of configurations decides over a training, but for its seed.

    A key named `seed` that is the seed of the run in all of them follows it
    (`dataset.seed: ${seed}`).
    """
    names = {key for config in configs for key in config if key.endswith(".seed")}
    follows = {
        name for name in names if all(c[name] == c.get("seed") for c in configs if name in c)
    }
    left_out = {"seed", *follows}
    return [
        {k: v for k, v in config.items() if not k.startswith(_NO_PART) and k not in left_out}
        for config in configs
    ]


def identities(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Texts that are the same for configurations that train the same but for the seed."""
    return [json.dumps(part, sort_keys=True, default=str) for part in trained(configs)]


def differing(
    configs: Sequence[Mapping[str, Any]], choices: Sequence[Mapping[str, str]]
) -> list[dict[str, Any]]:
    """Of every configuration what it has in the keys in which they are not all alike.

    Where configurations have chosen differently in a group (`model=...`), the name of the choice
    stands for the keys of the group in which they differ; keys in which the same choice differs
    stand beside it.

    Args:
        configs: of `flat`.
        choices: the chosen names by group, of each; may be empty.

    Returns:
        A mapping with the same keys for each; `MISSING` where a configuration lacks one.
    """
    parts = trained(configs)
    keys = list(dict.fromkeys(key for part in parts for key in part))
    texts = {key: [_text(part.get(key, MISSING)) for part in parts] for key in keys}
    keys = [key for key in keys if len(set(texts[key])) > 1]
    columns: dict[str, list[Any]] = {}
    for key in keys:
        group = key.split(".")[0]
        chosen = [choice.get(group, "") for choice in choices]
        if len(set(chosen)) > 1:
            columns[group] = [name or MISSING for name in chosen]
        by_choice: dict[str, set[str]] = {}
        for name, text in zip(chosen, texts[key], strict=True):
            by_choice.setdefault(name, set()).add(text)
        if any(len(found) > 1 for found in by_choice.values()):
            columns[key] = [part.get(key, MISSING) for part in parts]
    return [{key: column[i] for key, column in columns.items()} for i in range(len(parts))]


def _text(value: Any) -> str:
    return json.dumps(value, default=str)
