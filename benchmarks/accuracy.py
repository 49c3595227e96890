"""Which network learns most in the same time: trainings on small generated rooms, seed by seed.

* `python -m benchmarks.accuracy time [budget=150]`: milliseconds of a training step of every
  network, one thread, and the steps that fit into the budget: `trainer.max_steps` of
  `conf/experiment/accuracy/*.yaml`, where they are written down before anything is compared.
* `python -m benchmarks.accuracy run out=FILE.jsonl [seeds=8] [networks=...] [rooms=48,12] [jobs=2]`
  trains what the file does not hold yet, a line for each training; stop and repeat it at will.
* `python -m benchmarks.accuracy report out=FILE.jsonl`: means, and paired differences with their
  95 % intervals.

Networks have the same number of parameters (6.7 M), the same recipe, rooms and seeds; the same
time by their number of steps, so that nothing else that the machine does changes a result.

Ablations are `voxel_tr` with one option more, and as many steps as it; `networks=` names them:

    python -m benchmarks.accuracy run out=docs/ablations.jsonl rooms=48 \
        networks=voxel_tr,voxel_tr_fusion,voxel_tr_aux

Searches are one point transformer with other neighbours and samples, and as many steps:

    python -m benchmarks.accuracy run out=docs/searches.jsonl rooms=48 subject=ptv1_knn_fps \
        networks=ptv1_knn_fps,ptv1_ball_fps,ptv1_voxel_fps,...
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.options import count, parse_names
from benchmarks.paired import Difference, difference, interval, seeds_needed
from benchmarks.report import REPOSITORY, wide_console
from benchmarks.step_times import step_times
from pc3d.cli.build import build_data
from pc3d.cli.config import compose_config
from pc3d.utils.environment import environment, git_state

NETWORKS = ("minkunet_m", "dwconv_m", "votr_m", "voxel_tr", "voxel_tr_vq")
POINTS = ("spvcnn_m", "ptv1_m", "ptv1_vq", "ptv1_m_long")
"""Networks on points, likewise; these and the next are left out unless they are named."""
ABLATIONS = ("voxel_tr_fusion", "voxel_tr_aux")
"""Experiments of as many steps as `voxel_tr`."""
SEARCHES = tuple(f"ptv1_{s}_{p}" for p in ("fps", "strided") for s in ("knn", "ball", "voxel"))
"""Neighbours and samples of a point transformer; all of as many steps."""
EVERY = (*NETWORKS, *POINTS, *ABLATIONS, *SEARCHES)
SUBJECT = "voxel_tr"
"""What the others are compared with, unless `subject=` names another."""
ROOMS = (48, 12)
"""All rooms, and a quarter of them."""
EFFECT = 0.01
"""The difference of mIoU that the number of seeds should show."""
DEFAULTS: Mapping[str, str] = {
    "out": "",
    "seeds": "8",
    "networks": ",".join(NETWORKS),
    "rooms": ",".join(map(str, ROOMS)),
    "subject": SUBJECT,
    "jobs": "2",
    "budget": "150",
    "batches": "8",
}


class Training(NamedTuple):
    """One run: a network, a number of training rooms, a seed."""

    network: str
    num_rooms: int
    seed: int

    @property
    def overrides(self) -> list[str]:
        """What `train.py` is told."""
        return [
            f"experiment=accuracy/{self.network}",
            f"dataset.prepare.num_train={self.num_rooms}",
            f"seed={self.seed}",
        ]


Results = Mapping[Training, Mapping[str, Any]]


def plan(networks: Sequence[str], rooms: Sequence[int], seeds: int) -> list[Training]:
    """Every training, seed by seed: wherever it is cut off, the pairs are complete."""
    return [Training(n, r, s) for s in range(seeds) for r in rooms for n in networks]


def read_results(path: Path) -> Results:
    """The trainings of a file, none if it does not exist; ValueError at a line that is broken."""
    found: dict[Training, Mapping[str, Any]] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            found[Training(row["network"], row["num_rooms"], row["seed"])] = row
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}:{number}: not a result ({error!r}); remove it") from error
    return found


def run(trainings: Sequence[Training], path: Path, jobs: int, console: Console) -> None:
    """Train what is missing in `path`, `jobs` at a time; a line is added as each one ends."""
    done = read_results(path)
    missing = [training for training in trainings if training not in done]
    console.print(f"{len(trainings) - len(missing)} trainings are there, {len(missing)} to do")
    path.parent.mkdir(parents=True, exist_ok=True)
    for training in {training.num_rooms: training for training in missing}.values():
        build_data(compose_config("config", training.overrides)).prepare_data()
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(train, training) for training in missing]
        try:
            for future in as_completed(futures):
                row = future.result()
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                label = f"{row['network']}, {row['num_rooms']} rooms, seed {row['seed']}"
                console.print(f"{label}: {row['miou']:.4f} ({row['seconds']:.0f} s)")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def train(training: Training) -> dict[str, Any]:
    """Run `train.py` with one thread; RuntimeError with its last lines if it fails."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(REPOSITORY / "train.py"), *training.overrides]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "PC3D_RUN_DIR": folder}
        ended = subprocess.run(
            command, env=variables, capture_output=True, text=True, cwd=REPOSITORY
        )
        if ended.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{ended.stderr[-2000:]}")
        scores = read_scores(next(Path(folder).glob("csv/**/metrics.csv")))
    state = git_state(REPOSITORY)
    return {
        **training._asdict(),
        "miou": scores["val/miou_point"],
        "oa": scores["val/oa"],
        "iou": {k.removeprefix("val/iou/"): v for k, v in scores.items() if "val/iou/" in k},
        "steps": int(scores["step"]) + 1,
        "seconds": round(time.perf_counter() - start, 1),
        "commit": None if state is None else state["commit"],
        "uncommitted_changes": state is not None and bool(state["diff"]),
        "processor": environment()["processor"],
    }


def read_scores(path: Path) -> dict[str, float]:
    """The last row of `metrics.csv` that holds a validation, without its empty cells."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/miou_point")]
    return {key: float(value) for key, value in rows[-1].items() if value}


def table_of_scores(results: Results) -> Table:
    """Mean mIoU of every network and number of rooms with its 95 % interval."""
    table = Table("network", "rooms", "seeds", "steps", "mIoU", "95 % interval", "seconds")
    for (network, num_rooms), by_seed in grouped(results).items():
        rows = [results[Training(network, num_rooms, seed)] for seed in by_seed]
        cells = [network, str(num_rooms), str(len(by_seed))]
        cells += ["/".join(sorted({str(row["steps"]) for row in rows}))]
        values = list(by_seed.values())
        spread = interval(values) if len(values) > 1 else None
        cells += [f"{sum(values) / len(values):.4f}"]
        cells += ["-" if spread is None else f"{spread.low:.4f} to {spread.high:.4f}"]
        table.add_row(*cells, f"{median(row['seconds'] for row in rows):.0f}")
    return table


def table_of_differences(results: Results, subject: str = SUBJECT) -> Table:
    """The subject minus every other network, and how that changes with the number of rooms."""
    columns = ("difference", "rooms", "seeds", "mIoU", "95 % interval", "deviation", "seeds needed")
    table = Table(*columns)
    groups = grouped(results)
    others = [n for n in dict.fromkeys(n for n, _ in groups) if n != subject]
    sizes = sorted({num_rooms for _, num_rooms in groups}, reverse=True)
    for other in others:
        gaps = {}
        for num_rooms in sizes:
            ours, theirs = groups.get((subject, num_rooms), {}), groups.get((other, num_rooms), {})
            gaps[num_rooms] = {seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs}
            row = difference(ours, theirs)
            _add_row(table, f"{subject} - {other}", str(num_rooms), row)
        for few in sizes[1:]:
            growth = difference(gaps[few], gaps[sizes[0]])
            _add_row(table, f"the same, {few} minus {sizes[0]} rooms", "", growth)
    return table


def _add_row(table: Table, name: str, rooms: str, found: Difference | None) -> None:
    if found is not None:
        table.add_row(
            name,
            rooms,
            str(found.num_seeds),
            f"{found.mean:+.4f}",
            f"{found.low:+.4f} to {found.high:+.4f}",
            f"{found.deviation:.4f}",
            str(seeds_needed(found.deviation, EFFECT)),
        )


def grouped(results: Results) -> dict[tuple[str, int], dict[int, float]]:
    """mIoU by seed for every network and number of rooms, in the order of `EVERY`."""
    groups: dict[tuple[str, int], dict[int, float]] = {}
    for training in sorted(results, key=lambda t: (-t.num_rooms, EVERY.index(t.network), t.seed)):
        key = training.network, training.num_rooms
        groups.setdefault(key, {})[training.seed] = results[training]["miou"]
    return groups


def main(arguments: Sequence[str]) -> int:
    """Run from a command line; returns the exit status."""
    console = wide_console()
    try:
        command, options = parse(arguments)
    except ValueError as error:
        console.print(str(error))
        return 2
    os.environ.setdefault("PC3D_DATA", str(REPOSITORY / "data"))
    networks, budget = options["networks"].split(","), float(options["budget"])
    if command == "time":
        overrides = {name: Training(name, ROOMS[0], 0).overrides for name in networks}
        for network, seconds in step_times(overrides, int(options["batches"])).items():
            steps = int(budget / seconds)
            console.print(f"{network}: {1e3 * seconds:.0f} ms, {steps} steps in {budget:g} s")
        return 0
    path = Path(options["out"])
    if command == "run":
        rooms = [int(number) for number in options["rooms"].split(",")]
        trainings = plan(networks, rooms, int(options["seeds"]))
        run(trainings, path, int(options["jobs"]), console)
    results = read_results(path)
    console.print(table_of_scores(results))
    console.print(table_of_differences(results, options["subject"]))
    for key in ("commit", "processor"):
        console.print(f"{key}: {', '.join(sorted({str(row[key]) for row in results.values()}))}")
    return 0


def parse(arguments: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The command and its options; ValueError says what is wrong."""
    command = arguments[0] if arguments else ""
    if command not in ("time", "run", "report"):
        raise ValueError(f"expected time, run or report first; got {command!r}")
    options = dict(DEFAULTS)
    for argument in arguments[1:]:
        key, equals, value = argument.partition("=")
        if not equals or key not in options:
            raise ValueError(f"got {argument!r}; expected key=value with {', '.join(options)}")
        options[key] = value
    parse_names("networks", options["networks"], EVERY)
    parse_names("subject", options["subject"], EVERY)
    for key in ("seeds", "jobs", "batches"):
        count(key, options[key])
    for number in options["rooms"].split(","):
        count("rooms", number)
    if command != "time" and not options["out"]:
        raise ValueError("expected out=FILE.jsonl, where the trainings are kept")
    return command, options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
