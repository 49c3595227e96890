"""Pool the tests of several folds: `pc3d pool run=A run=B ... [out=FILE.json]`.

Keys:
    run: a run folder that test.py has tested in one way, or the JSON file of a test; at least two.
    out: the file to write (default: logs/pool/<time>.json).

The confusion matrices are summed, then come IoU per class and its mean: the 6-fold score of S3DIS.
The mean of the folds' own mIoUs, which is another number, stands beside it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from datetime import datetime
from itertools import combinations
from pathlib import Path
from statistics import fmean

import torch
from rich.console import Console

from pc3d.cli.errors import report_errors
from pc3d.cli.report import Result, print_result, summary
from pc3d.runs.results import read_result
from pc3d.utils.files import write_json

log = logging.getLogger(__name__)

_MAX_SHOWN = 5


def parse(arguments: Sequence[str]) -> tuple[list[Path], Path]:
    """The results to pool and the file to write.

    Raises:
        ValueError: another key, or fewer than two results.
    """
    pairs = [argument.partition("=") for argument in arguments]
    for argument, (key, equals, value) in zip(arguments, pairs, strict=True):
        if key not in ("run", "out") or not equals or not value:
            raise ValueError(f"{argument!r} is not run=<folder or JSON> or out=<file>\n\n{__doc__}")
    runs = [Path(value).expanduser() for key, _, value in pairs if key == "run"]
    if len(runs) < 2:
        raise ValueError(f"pooling needs at least two results; got {len(runs)}\n\n{__doc__}")
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    outs = [Path(value).expanduser() for key, _, value in pairs if key == "out"]
    return runs, outs[-1] if outs else Path("logs", "pool", f"{stamp}.json")


def result_path(run: Path) -> Path:
    """The result of a test: `run` itself, or the only one of a run folder.

    Raises:
        FileNotFoundError: none.
        ValueError: several, of which one has to be named.
    """
    if run.is_file():
        return run
    paths = sorted((run / "test").glob("*.json"))
    if not paths:
        raise FileNotFoundError(f"{run} has no test results. Make them: python test.py run={run}")
    if len(paths) > 1:
        listed = "\n  ".join(f"run={path}" for path in paths)
        raise ValueError(f"{run} has {len(paths)} test results; name one of them:\n  {listed}")
    return paths[0]


def pool(results: Sequence[Result], names: Sequence[str]) -> Result:
    """Sum the confusion matrices of results.

    Args:
        results: of `read_result`, one for each fold.
        names: where they come from.

    Raises:
        ValueError: other classes, or their order differs: the sum would mean nothing.
    """
    first = results[0]
    classes = [row["name"] for row in first["classes"]]
    for name, result in zip(names, results, strict=True):
        found = [row["name"] for row in result["classes"]]
        if (result["label_space"], found) != (first["label_space"], classes):
            raise ValueError(
                f"{name} has the {len(found)} classes of {result['label_space']}, {names[0]} the "
                f"{len(classes)} of {first['label_space']}: they cannot be pooled"
            )
    matrix = torch.stack([torch.tensor(result["confusion"]) for result in results]).sum(dim=0)
    mious = [result["miou"] for result in results if result["miou"] is not None]
    return {
        "metric": f"pooled {first['metric']}",
        "protocol": f"{len(results)} results, confusion matrices summed; {first['protocol']}",
        "label_space": first["label_space"],
        **summary(matrix, classes),
        "num_points": sum(result["num_points"] for result in results),
        "scenes": [scene for result in results for scene in result["scenes"]],
        "settings": first["settings"],
        "mean_of_mious": fmean(mious) if mious else None,
        "folds": [
            {
                "result": name,
                "miou": result["miou"],
                "num_scenes": len(result["scenes"]),
                "checkpoint_hash": result.get("checkpoint_hash"),
            }
            for name, result in zip(names, results, strict=True)
        ],
    }


def doubts(results: Sequence[Result], names: Sequence[str]) -> list[str]:
    """What speaks against pooling these results, pair by pair."""
    found = []
    for (one, a), (other, b) in combinations(zip(names, results, strict=True), 2):
        twice = sorted(set(a["scenes"]) & set(b["scenes"]))
        if twice:
            shown = ", ".join(twice[:_MAX_SHOWN]) + ", ..." * (len(twice) > _MAX_SHOWN)
            found.append(
                f"{one} and {other} both have {len(twice)} scenes, which count twice: {shown}"
            )
        keys = [key for key in a["settings"] if a["settings"][key] != b["settings"].get(key)]
        differing = [f"{key} {a['settings'][key]} and {b['settings'].get(key)}" for key in keys]
        if a["metric"] != b["metric"]:
            differing.insert(0, f"{a['metric']} and {b['metric']}")
        if differing:
            found.append(f"{one} and {other} have other protocols: {'; '.join(differing)}")
    return found


@report_errors
def main() -> None:
    """The program."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    runs, out = parse(sys.argv[1:])
    paths = [result_path(run) for run in runs]
    results, names = [read_result(path) for path in paths], [str(path) for path in paths]
    pooled = pool(results, names)
    for doubt in doubts(results, names):
        log.warning("warning: %s", doubt)
    write_json(out, pooled)
    console = Console()
    print_result(pooled, console)
    for fold in pooled["folds"]:
        score = "no labels" if fold["miou"] is None else f"mIoU {100 * fold['miou']:.2f} %"
        console.print(f"  {score}  {fold['num_scenes']} scenes  {fold['result']}", soft_wrap=True)
    if pooled["mean_of_mious"] is not None:
        console.print(
            f"mean of the {len(results)} mIoUs, which is not the pooled score: "
            f"{100 * pooled['mean_of_mious']:.2f} %"
        )
    console.print(f"written to {out}", soft_wrap=True)


if __name__ == "__main__":
    main()
