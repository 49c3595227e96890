"""Does a supernet rank networks as training them alone does?

* `python -m benchmarks.ranking run run=<run of a supernet> out=FILE.jsonl [networks=24] [band=8]
  [epochs=0] [jobs=2] [seed=0]` draws networks of all sizes, `band` of them within 10 % of the same
  number of multiply-adds, estimates each out of the supernet (mIoU on held-out scenes, after
  recalibration) and trains each alone on the same scenes, with the recipe of the supernet; `epochs`
  instead of the supernet's, if it is not 0. A line for each; stop and repeat it at will.
* `python -m benchmarks.ranking report out=FILE.jsonl`: Kendall's tau of the estimates with 95 %
  bootstrap intervals, beside those of multiply-adds and of parameters, of all and within the band;
  P@K and N@K.

What networks reach alone is mIoU of the validation scenes after the last epoch. P@K is the fraction
of the K best that is among the K with the highest estimates; N@K the place, among all, of the best
of those K (Ning et al. 2020, arXiv 2008.03064).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau, rankdata

from benchmarks.accuracy import read_scores
from benchmarks.options import count, values_of
from benchmarks.report import REPOSITORY, wide_console
from pc3d.cli.build import build_data
from pc3d.cli.train import train
from pc3d.profiling import multiply_adds
from pc3d.search import ArchSpec, Supernet, load_supernet
from pc3d.search.fitness import Fitness
from pc3d.search.records import Records
from pc3d.search.strategies import spread
from pc3d.search.subnet import config_of, subnet_config
from pc3d.sparse import Batch
from pc3d.utils.environment import environment, git_state
from pc3d.utils.run_folder import moved, read_run, save_run

DEFAULTS: Mapping[str, str] = {
    "run": "",
    "out": "",
    "networks": "24",
    "band": "8",
    "epochs": "0",
    "jobs": "2",
    "seed": "0",
    "arch": "",
}
BAND = 0.1
"""Half the width of the band of multiply-adds, as a fraction."""
CALIBRATION = 64
"""Batches of training data for the running statistics of an estimate."""
RESAMPLES = 10_000
BEST = (3, 5)
"""K of P@K and N@K."""
_DRAWN = 40
"""Networks that are drawn for each that is taken."""
Rows = Sequence[Mapping[str, Any]]
Array = NDArray[np.float64]


def choose(
    archs: Sequence[ArchSpec], macs: Sequence[float], networks: int, band: int
) -> list[ArchSpec]:
    """`band` networks within 10 % of the median of multiply-adds, the others evenly by them.

    Raises:
        ValueError: too few within the band.
    """
    middle = float(np.median(macs))
    inside = [a for a, m in zip(archs, macs, strict=True) if abs(m / middle - 1) <= BAND]
    if len(inside) < band:
        raise ValueError(f"only {len(inside)} networks within 10 % of {middle:.3g} MACs")
    outside = [
        a
        for m, a in sorted(zip(macs, archs, strict=True), key=lambda pair: pair[0])
        if abs(m / middle - 1) > BAND
    ]
    places = np.linspace(0, len(outside) - 1, networks - band).round().astype(int)
    return inside[:band] + [outside[place] for place in places]


def drawn(net: Supernet, scan: Batch, networks: int, band: int, seed: int) -> list[ArchSpec]:
    """The networks of the benchmark: a function of the seed."""
    rng = np.random.default_rng(seed)
    archs = list(dict.fromkeys(spread(net.space, rng) for _ in range(_DRAWN * networks)))
    return choose(archs, [float(macs_of(net, arch, scan)) for arch in archs], networks, band)


@torch.no_grad()
def macs_of(net: Supernet, arch: ArchSpec, scan: Batch) -> int:
    """Multiply-adds of a pass over a scan."""
    network = net.extract(arch).eval()
    return sum(multiply_adds(network, lambda: network(scan)).values())


def run(options: Mapping[str, str], console: Console) -> None:
    """Estimate and train what the file does not hold yet."""
    folder, path = Path(options["run"]).resolve(), Path(options["out"]).resolve()
    net = load_supernet(folder)
    data = build_data(read_run(folder)[0])
    data.prepare_data()
    scenes = list(data.eval_dataloader("holdout"))
    sizes = count("networks", options["networks"]), count("band", options["band"])
    archs = drawn(net, scenes[0], *sizes, int(options["seed"]))
    done = {row["network"] for row in read_rows(path)}
    missing = [arch for arch in archs if arch.name not in done]
    console.print(f"{len(archs) - len(missing)} networks are there, {len(missing)} to do")
    calibration = list(islice(data.train_dataloader(), CALIBRATION))
    with tempfile.TemporaryDirectory() as scratch:
        records = Records(Path(scratch), "scores", {})
        fitness = Fitness(net, calibration, scenes, torch.device("cpu"), records)
        with ThreadPoolExecutor(count("jobs", options["jobs"])) as pool:
            futures = {pool.submit(alone, arch, options): arch for arch in missing}
            try:
                for future in as_completed(futures):
                    arch, row = futures[future], future.result()
                    row |= {"estimate": fitness.of(arch), "macs": macs_of(net, arch, scenes[0])}
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
                    console.print(
                        f"{arch.name}: estimate {row['estimate']:.4f}, alone {row['miou']:.4f} "
                        f"({row['seconds']:.0f} s)"
                    )
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def alone(arch: ArchSpec, options: Mapping[str, str]) -> dict[str, Any]:
    """Train one network in a process with one thread; RuntimeError with its last lines."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        keys = [f"{key}={options[key]}" for key in ("run", "epochs", "seed")]
        plain = json.dumps(arch.plain())
        command = [sys.executable, "-m", "benchmarks.ranking", "train", *keys]
        variables = {**os.environ, "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(
            [*command, f"out={folder}/run", f"arch={plain}"],
            env=variables,
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
        )
        if ended.returncode:
            raise RuntimeError(f"{arch.name} failed:\n{ended.stderr[-2000:]}")
        scores = read_scores(next(Path(folder).glob("run/csv/**/metrics.csv")))
    net = load_supernet(options["run"])
    state = git_state(REPOSITORY)
    return {
        "network": arch.name,
        "arch": arch.plain(),
        "miou": scores["val/miou_point"],
        "parameters": sum(p.numel() for p in net.extract(arch).parameters()),
        "steps": int(scores["step"]) + 1,
        "seed": int(options["seed"]),
        "seconds": round(time.perf_counter() - start, 1),
        "commit": None if state is None else state["commit"],
        "uncommitted_changes": state is not None and bool(state["diff"]),
        "processor": environment()["processor"],
    }


def train_alone(options: Mapping[str, str]) -> None:
    """Train the network that `arch` says, into the run folder `out`."""
    source, folder = Path(options["run"]).resolve(), Path(options["out"])
    saved, _ = read_run(source)
    space = load_supernet(source).space
    arch = ArchSpec.from_plain(json.loads(options["arch"]))
    config = moved(subnet_config(saved, config_of(space.config(arch))), folder)
    config.seed = int(options["seed"])
    if int(options["epochs"]):
        config.trainer.max_epochs = int(options["epochs"])
    config.trainer.check_val_every_n_epoch = config.trainer.max_epochs  # the last one counts
    save_run(folder, config, [])
    train(config, folder)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, none if it does not exist; ValueError at a line that is broken."""
    rows = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
            assert {"network", "miou", "macs", "parameters", "estimate"} <= rows[-1].keys()
        except (json.JSONDecodeError, AssertionError, AttributeError) as error:
            raise ValueError(f"{path}:{number}: not a result ({error!r}); remove it") from error
    return rows


def tau(estimates: Array, truth: Array) -> float:
    """Kendall's tau-b; NaN where all are equal."""
    return float(kendalltau(estimates, truth).statistic)


def tau_interval(estimates: Array, truth: Array, seed: int = 0) -> tuple[float, float]:
    """The middle 95 % of tau over networks drawn with replacement."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(truth), size=(RESAMPLES, len(truth)))
    found = np.array([tau(estimates[pick], truth[pick]) for pick in picks])
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)


def precision_at(k: int, estimates: Array, truth: Array) -> float:
    """P@K: the fraction of the K best that is among the K with the highest estimates."""
    highest = {*np.argsort(-estimates, kind="stable")[:k].tolist()}
    return len(highest & {*np.argsort(-truth, kind="stable")[:k].tolist()}) / k


def best_place_at(k: int, estimates: Array, truth: Array) -> int:
    """N@K: the place of the best among the K with the highest estimates; 1 is the best of all."""
    highest = np.argsort(-estimates, kind="stable")[:k]
    return int(rankdata(-truth, method="min")[highest].min())


def report(rows: Rows) -> Table:
    """How well estimates, multiply-adds and parameters rank networks."""
    columns = {key: np.array([float(row[key]) for row in rows]) for key in rows[0] if key in _KEYS}
    truth = columns["miou"]
    middle = np.median(columns["macs"])
    band = np.abs(columns["macs"] / middle - 1) <= BAND
    table = Table("networks", "number", "ranked by", "tau", "95 % interval", *_names())
    for name, chosen in (("all", np.ones(len(rows), bool)), ("one band of MACs", band)):
        if chosen.sum() < 2:
            continue
        for key in ("estimate", "macs", "parameters"):
            values, true = columns[key][chosen], truth[chosen]
            low, high = tau_interval(values, true)
            cells = [f"{precision_at(k, values, true):.2f}" for k in BEST]
            cells += [str(best_place_at(k, values, true)) for k in BEST]
            spread_text = f"{low:+.2f} to {high:+.2f}"
            table.add_row(
                name, str(int(chosen.sum())), key, f"{tau(values, true):+.2f}", spread_text, *cells
            )
    return table


_KEYS = ("miou", "macs", "parameters", "estimate")


def _names() -> list[str]:
    return [f"P@{k}" for k in BEST] + [f"N@{k}" for k in BEST]


def main(arguments: Sequence[str]) -> int:
    """Run from a command line; returns the exit status."""
    console = wide_console()
    verb, *given = arguments or [""]
    try:
        options = values_of(given, DEFAULTS)
        needed = {"run": ("run", "out"), "train": ("run", "out", "arch"), "report": ("out",)}
        if verb not in needed:
            raise ValueError(f"expected run or report; got {verb!r}\n{__doc__}")
        absent = [key for key in needed[verb] if not options[key]]
        if absent:
            raise ValueError(f"say {' and '.join(f'{key}=...' for key in absent)}")
        if verb == "run":
            run(options, console)
        elif verb == "train":
            train_alone(options)
        else:
            rows = read_rows(Path(options["out"]))
            if len(rows) < max(BEST):
                raise ValueError(f"{options['out']} has {len(rows)} networks; more are needed")
            console.print(report(rows))
    except (ValueError, FileNotFoundError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
