"""Composing configurations: defaults, the saved configuration of a run, the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf

import pc3d
from pc3d.cli.arguments import find, key_of, merge

PLACEHOLDER = "RUN_DIR"
"""Stands for the run folder in configurations that are composed to be compared."""


def conf_dir() -> Path:
    """The folder of the configuration: `pc3d/conf` in a wheel, `conf` in a checkout."""
    package = Path(pc3d.__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def recipe_for(dataset: str, model: str) -> str:
    """The recipe with the longest name that `<dataset>_<model>` starts with.

    `scannet_voxel_tr` serves `scannet_voxel_tr_s` too, unless that has a recipe of its own. Without
    any, the name of the pair comes back, which Hydra then misses.
    """
    pair = f"{dataset}_{model}"
    names = (path.stem for path in (conf_dir() / "recipe").glob("*.yaml"))
    return max((name for name in names if pair.startswith(name)), key=len, default=pair)


def register_resolvers() -> None:
    """Make `${recipe:...}` of `conf/config.yaml` known; call it before composing."""
    OmegaConf.register_new_resolver("recipe", recipe_for, replace=True)


def compose_config(name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose `conf/<name>.yaml` with overrides, and check what Hydra cannot.

    Raises:
        ValueError: a dataset and model without a recipe, or another optimizer without its lr.
        hydra.errors.HydraException: an unknown key or group, named in the message.
    """
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        try:
            config = compose(name, list(overrides), return_hydra_config=True)
        except MissingConfigException as error:
            raise _explain_missing(error) from None
        choices = config.hydra.runtime.choices
        _check_optimizer(name, overrides, config, choices)
    program = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    OmegaConf.set_struct(program, True)
    return program


def choices_of(name: str, overrides: Sequence[str]) -> dict[str, str]:
    """What is chosen of every group of `conf/<name>.yaml`, such as `augment`."""
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose(name, list(overrides), return_hydra_config=True)
    return dict(config.hydra.runtime.choices)


def _explain_missing(error: MissingConfigException) -> Exception:
    missing = str(error.missing_cfg_file or "")
    if not missing.startswith("recipe/"):
        return error
    pair = missing.removeprefix("recipe/")
    return ValueError(
        f"there is no recipe for this pair of dataset and model: conf/{missing}.yaml. Use "
        f"recipe=default, a sane fallback, or one of `recipe=<name>` in conf/recipe, or write "
        f"conf/recipe/{pair}.yaml (one line makes it a variant: `defaults: [<recipe>, _self_]`; it "
        "also serves the models whose names begin like this one's)."
    )


def _check_optimizer(
    name: str, overrides: Sequence[str], config: DictConfig, choices: DictConfig
) -> None:
    keys = {key_of(argument) for argument in overrides}
    chosen = find(overrides, "optimizer")
    if chosen is None or "optimizer.lr" in keys:
        return
    without = [argument for argument in overrides if key_of(argument) != "optimizer"]
    recipe = compose(name, without, return_hydra_config=True)
    made_for = recipe.hydra.runtime.choices.optimizer
    if made_for != chosen:
        default = OmegaConf.load(conf_dir() / "optimizer" / f"{chosen}.yaml").lr
        raise ValueError(
            f"optimizer={chosen} with the lr {config.optimizer.lr} that recipe={choices.recipe} "
            f"has for {made_for} is surely not meant. Say optimizer.lr=...; the default of "
            f"{chosen} is {default}."
        )


def layered(saved: DictConfig, saved_overrides: Sequence[str], given: Sequence[str]) -> DictConfig:
    """Command line over the saved configuration of a run over today's defaults.

    What the command line changes is found by composing with and without it; only that is laid over
    the saved configuration. Defaults that were edited since the run therefore do not creep in.

    Args:
        saved: resolved configuration of the run.
        saved_overrides: overrides the run was started with.
        given: overrides of today's command line.
    """
    pin = [f"paths.run_dir={PLACEHOLDER}"]
    before = resolved(compose_config("config", [*saved_overrides, *pin]))
    after = resolved(compose_config("config", [*merge(saved_overrides, given), *pin]))
    result = OmegaConf.to_container(saved)
    assert isinstance(result, dict)
    _apply(result, before, after)
    return OmegaConf.create(result)


def _apply(target: dict[Any, Any], before: dict[Any, Any], after: dict[Any, Any]) -> None:
    for key in before.keys() - after.keys():
        target.pop(key, None)
    for key, value in after.items():
        if key in before and before[key] == value:
            continue
        if isinstance(value, dict) and isinstance(before.get(key), dict) and key in target:
            _apply(target[key], before[key], value)
        else:
            target[key] = value


def resolved(config: DictConfig) -> dict[Any, Any]:
    """Plain dicts, lists and values, with every interpolation resolved."""
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return container


def choices_line() -> str:
    """What was chosen, for the log: `dataset=... model=... recipe=...`."""
    choices = HydraConfig.get().runtime.choices
    names = ("dataset", "model", "recipe", "augment", "loss", "optimizer", "scheduler", "trainer")
    return "  ".join(f"{name}={choices[name]}" for name in names if name in choices)
