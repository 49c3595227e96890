"""Write the network of a run as one file that says what it is: `pc3d export run=... out=...`."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pc3d.cli.arguments import PATH_KEYS, key_of
from pc3d.cli.build import build_data
from pc3d.cli.errors import report_errors
from pc3d.cli.options import FLAG, PATH, Kind, read_options
from pc3d.models.weights import Weights, read_weights, write_weights
from pc3d.utils.files import file_hash
from pc3d.utils.run_folder import checkpoint_path, read_run

log = logging.getLogger(__name__)

KINDS = {
    "run": PATH,
    "out": PATH,
    "ckpt": PATH,
    "half": FLAG,
    "data": Kind("a text", lambda value: isinstance(value, str)),
}
"""What the keys of `conf/export.yaml` may hold."""


def export(options: DictConfig) -> Weights:
    """Write the weights of a run, and return them.

    Args:
        options: `conf/export.yaml`.
    """
    folder = Path(options.run).expanduser()
    config, overrides = read_run(folder)
    path = checkpoint_path(folder, options.ckpt)
    weights = read_weights(path)
    facts = dict(weights.facts)
    if "transforms" not in facts:  # of an older pc3d, which the run's folder makes up for
        facts["transforms"] = OmegaConf.to_container(config.augment.eval, resolve=True)
    if "extent" not in facts:
        facts |= build_data(config).measured()
    facts["training"] = {
        "overrides": [o for o in overrides if key_of(o) not in PATH_KEYS],
        "commit": json.loads((folder / "environment.json").read_bytes())["commit"],
        "checkpoint_hash": file_hash(path),
        "tests": _tests(folder, file_hash(path)),
        "data": options.data,
    }
    exported = Weights(weights.source, weights.state, facts)
    out = Path(options.out).expanduser()
    write_weights(out, exported, options.half)
    log.info("%s: %.1f MB", out, out.stat().st_size / 1e6)
    return exported


def _tests(folder: Path, digest: str) -> list[dict[str, Any]]:
    """What test.py said of the checkpoint."""
    paths = sorted((folder / "test").glob(f"*-{digest}-*.json"))
    results = [json.loads(path.read_bytes()) for path in paths]
    return [{key: result[key] for key in ("metric", "protocol", "miou")} for result in results]


@report_errors
def main() -> None:
    """The program."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    export(read_options("export", sys.argv[1:], KINDS))


if __name__ == "__main__":
    main()
