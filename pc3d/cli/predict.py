"""Label files of points: `pc3d predict ckpt=... input=... [output=...]`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID
from rich.table import Table

from pc3d.cli.errors import USER_ERRORS, message, report_errors
from pc3d.cli.options import (
    FLAG,
    NUMBER,
    PATH,
    POSITIVE,
    TEXT,
    list_of,
    map_of,
    optional,
    read_options,
)
from pc3d.cli.report import counted
from pc3d.inference import Predictor, load
from pc3d.inference.files import NEUTRAL, Labelled, Labelling, label_file
from pc3d.io.cloud import EXTENSIONS, OUTPUTS, find_clouds, names_for
from pc3d.utils.allocator import keep_freed_memory

log = logging.getLogger(__name__)
KINDS = {
    "ckpt": PATH,
    "input": PATH,
    "output": optional(PATH),
    "names": list_of(TEXT),
    "columns": map_of(TEXT, optional(list_of(TEXT))),
    "divide_by": map_of(TEXT, optional(POSITIVE)),
    "fill": list_of(TEXT),
    "extent": optional(POSITIVE),
    "overlap": NUMBER,
    "confidence": FLAG,
    "entropy": FLAG,
    "probabilities": FLAG,
    "device": optional(TEXT),
}
"""What the keys of `conf/predict.yaml` may hold."""
MARK = "labelled"
"""In the names of files that are written beside what they are copies of."""


def predict(options: DictConfig) -> list[Path]:
    """Label a file or the files of a folder; returns what was written.

    Args:
        options: `conf/predict.yaml`.

    Raises:
        FileNotFoundError, ValueError, OSError: why a file cannot be labelled. Of several files, the
            others are labelled before.
    """
    how = labelling(options)
    jobs = list(pairs(Path(options.input), options.output))
    predictor = load(options.ckpt, options.device)
    describe(predictor, str(options.ckpt), how.extent or predictor.extent)
    keep_freed_memory()
    failures: list[Exception] = []
    written = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for source, target in jobs:
            task = progress.add_task(source.name, total=1.0)
            try:
                given = how if len(jobs) == 1 else replace(how, names=names_for(source, how.names))
                labelled = label_file(
                    predictor, source, target, given, partial(_show, progress, task)
                )
            except USER_ERRORS as error:
                failures.append(error)
                continue
            finally:
                progress.remove_task(task)
            written.append(target)
            report(predictor, source, target, labelled)
    if failures and len(jobs) == 1:
        raise failures[0]
    if failures:
        reasons = "\n".join(f"  {message(error)}" for error in failures)
        raise ValueError(f"{len(failures)} of {len(jobs)} files were not labelled:\n{reasons}")
    return written


def _show(progress: Progress, task: TaskID, share: float) -> None:
    progress.update(task, completed=share)


def labelling(options: DictConfig) -> Labelling:
    """What the options say of how files are read and what is written.

    Raises:
        ValueError: a field that cannot be filled.
    """
    unknown = [name for name in options.fill if name not in NEUTRAL]
    if unknown:
        raise ValueError(f"fill takes {', '.join(NEUTRAL)}; got {', '.join(unknown)}")
    plain = OmegaConf.to_container(options)
    assert isinstance(plain, dict)
    scales = {name: scale for name, scale in plain["divide_by"].items() if scale is not None}
    return Labelling(
        names=plain["names"],
        columns={name: found for name, found in plain["columns"].items() if found is not None},
        divide_by=scales,
        fill=plain["fill"],
        extent=plain["extent"],
        overlap=plain["overlap"],
        confidence=plain["confidence"],
        entropy=plain["entropy"],
        probabilities=plain["probabilities"],
    )


def pairs(source: Path, output: str | None) -> Iterator[tuple[Path, Path]]:
    """The files to label, and where each goes.

    Args:
        source: a file, or a folder that is searched with all its folders.
        output: a file, or a folder, as which names without extension count too; None writes beside
            the input.

    Raises:
        FileNotFoundError: there is nothing to label.
        ValueError: files that cannot be read, an output that does not fit, or two files that would
            become one.
    """
    source = source.expanduser()
    out = None if output is None else Path(output).expanduser()
    if source.is_dir():
        if out is not None and (out.is_file() or _is_same(source, out)):
            raise ValueError(f"output={out} must be another folder than input={source}")
        yield from _pairs_of_folders(source, out)
        return
    if not source.is_file():
        raise FileNotFoundError(f"no file or folder at input={source}")
    if source.suffix.lower() not in EXTENSIONS:
        raise ValueError(f"{source}: unknown extension; known: {_known(EXTENSIONS)}")
    if out is None or out.is_dir() or not out.suffix or str(output).endswith(("/", os.sep)):
        yield source, (out or source.parent) / _name_of_copy(source, out is None)
    elif out.suffix.lower() in OUTPUTS:
        yield source, out
    else:
        raise ValueError(
            f"output={out}: what can be written is {_known(OUTPUTS)}; a folder's name ends in /"
        )


def _pairs_of_folders(source: Path, out: Path | None) -> Iterator[tuple[Path, Path]]:
    inner = None if out is None else out.resolve()
    if inner is not None and source.resolve() not in inner.parents:
        inner = None
    source_of: dict[Path, Path] = {}
    for path in find_clouds(source):
        if f".{MARK}." in path.name or inner in path.resolve().parents:
            continue
        folder = path.parent if out is None else out / path.parent.relative_to(source)
        target = folder / _name_of_copy(path, out is None)
        if target in source_of:
            raise _collision(source_of[target], path, target)
        source_of[target] = path
    if not source_of:
        raise FileNotFoundError(f"{source}: no files of points are there ({_known(EXTENSIONS)})")
    for target, path in source_of.items():
        other = source_of.get(_holder(target), path)
        if other != path:
            raise _collision(other, path, target)
        yield path, target


def _collision(one: Path, other: Path, target: Path) -> ValueError:
    return ValueError(f"{one} and {other} would both become {target}: label one of them by itself")


def _holder(path: Path) -> Path:
    """The `.npy` file of classes that a file beside it, such as `a.confidence.npy`, belongs to."""
    stem, _, added = path.stem.rpartition(".")
    is_added = added in ("confidence", "entropy") or added.startswith("p_")
    return path.with_name(f"{stem}.npy") if path.suffix == ".npy" and is_added else path


def _is_same(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve()


def _known(extensions: Sequence[str]) -> str:
    return ", ".join(extensions)


def _name_of_copy(path: Path, is_beside: bool) -> str:
    """In the format of the original, or as ply, which holds columns of any name."""
    suffix = path.suffix.lower()
    return f"{path.stem}{f'.{MARK}' * is_beside}{suffix if suffix in OUTPUTS else '.ply'}"


def describe(predictor: Predictor, name: str, extent: float | None) -> None:
    """Say what the network is, and that it looks at windows of `extent` metres, if at any."""
    spec = predictor.spec
    log.info(
        "%s: %d classes of %s (%s); features %s; voxels of %g m; %s",
        name,
        spec.num_classes,
        spec.name,
        ", ".join(spec.class_names[:8]) + ", ..." * (spec.num_classes > 8),
        ", ".join(predictor.voxelize.features),
        predictor.voxelize.voxel_size,
        "scenes as a whole" if extent is None else f"windows of {extent:.4g} m",
    )


def report(predictor: Predictor, source: Path, target: Path, labelled: Labelled) -> None:
    """Say what was assumed of a file, and print how many points each class has."""
    for sentence in labelled.remarks:
        log.info("%s: %s", source.name, sentence)
    if labelled.num_skipped:
        log.warning(
            "%s: %d points have values that are NaN or infinite, and so no class",
            source,
            labelled.num_skipped,
        )
    table = Table("class", "points", "share", title=counted(labelled.num_points, "point"))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, count in zip(predictor.spec.class_names, labelled.counts.tolist(), strict=True):
        if count:
            table.add_row(escape(name), f"{count:,}", f"{100 * count / labelled.num_points:.1f} %")
    console = Console()
    console.print(table)
    console.print(f"written to {target}", soft_wrap=True, markup=False)


@report_errors
def main() -> None:
    """The program; its keys are those of conf/predict.yaml."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    predict(read_options("predict", sys.argv[1:], KINDS))


if __name__ == "__main__":
    main()
