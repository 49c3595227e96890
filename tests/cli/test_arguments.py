"""Arguments are split at the first `=`, and file names may hold anything."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.cli.arguments import PATH_KEYS, find, key_of, merge, quote_paths, unquote

NAMES = [
    "scan (1).ply",
    "a[1].las",
    "büro.ply",
    "~/x.ply",
    "runs/epoch=3.ckpt",
    "a,b.ply",
    "{x}.ply",
    "it's.ply",
    "C:\\data\\x.ply",
    "ends with \\",
    "two  spaces ",
    "$HOME.ply",
    "1e3",
    "true",
    "-x.ply",
]


def hydra_value(argument: str) -> object:
    """What Hydra's own grammar makes of one override."""
    (override,) = OverridesParser.create().parse_overrides([argument])
    return override.value()


@pytest.mark.parametrize("name", NAMES)
def test_a_file_name_reaches_hydra_as_it_is(name):
    (quoted,) = quote_paths([f"ckpt={name}"])
    assert hydra_value(quoted) == name
    assert find([quoted], "ckpt") == name


@pytest.mark.parametrize("key", PATH_KEYS)
def test_every_path_key_is_quoted(key):
    assert quote_paths([f"{key}=a (1)"]) == [f"{key}='a (1)'"]


@settings(deadline=None)
@given(st.text("ab.=, ()[]{}~:@+'\"é\N{SNOWMAN}0", min_size=1).filter(lambda t: t[0] not in "'\""))
def test_any_name(name):
    (quoted,) = quote_paths([f"ckpt={name}"])
    assert hydra_value(quoted) == name
    assert find([quoted], "ckpt") == name


@pytest.mark.parametrize("value", ["", "null", "'a b'", '"a b"', "${paths.data_dir}/x"])
def test_what_hydra_understands_stays(value):
    assert quote_paths([f"run={value}"]) == [f"run={value}"]


@pytest.mark.parametrize("argument", ["model=minkunet14a", "optimizer.lr=0.1", "--help", "x"])
def test_other_arguments_stay(argument):
    assert quote_paths([argument]) == [argument]


def test_prefixes_are_kept():
    assert quote_paths(["+ckpt=a b", "++run=c d"]) == ["+ckpt='a b'", "++run='c d'"]


@pytest.mark.parametrize(
    "argument, key",
    [
        ("optimizer.lr=0.1", "optimizer.lr"),
        ("+experiment=demo", "experiment"),
        ("++a.b=1", "a.b"),
        ("~trainer.x", "trainer.x"),
        ("logger@other=csv", "logger"),
        ("run=a=b", "run"),
    ],
)
def test_key_of(argument, key):
    assert key_of(argument) == key


def test_find_takes_the_last_and_null_is_none():
    assert find(["seed=1", "seed=2"], "seed") == "2"
    assert find(["seed=1", "seed=null"], "seed") is None
    assert find(["seed="], "seed") is None
    assert find(["seeds=1", "seed"], "seed") is None
    assert find(["run='a=b (1)'"], "run") == "a=b (1)"


@pytest.mark.parametrize("value", ["'", '"', "'a", "a'", "", "x"])
def test_unquote_leaves_what_is_not_quoted(value):
    assert unquote(value) == value


def test_merge_lets_the_command_line_win():
    saved = ["model=a", "optimizer.lr=1", "+x=2"]
    assert merge(saved, ["optimizer.lr=3", "++x=4"]) == ["model=a", "optimizer.lr=3", "++x=4"]
    assert merge(saved, []) == saved
