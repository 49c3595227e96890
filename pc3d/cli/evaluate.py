"""Compare labelled files: `pc3d eval pred=... truth=... [classes=...] [map={3:5}] [ignore=[1]]`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import Tensor

from pc3d.cli.errors import report_errors
from pc3d.cli.options import INTEGER, PATH, TEXT, Kind, list_of, map_of, optional, read_options
from pc3d.cli.predict import MARK
from pc3d.cli.report import Result, counted, print_result, summary
from pc3d.data.columns import fields_of, to_arrays
from pc3d.data.spec import IGNORE_INDEX, DatasetSpec
from pc3d.data.specs import SPECS
from pc3d.inference import find_weights
from pc3d.inference.predictor import spec_of
from pc3d.io.arrays import INTEGERS, map_array, read_array
from pc3d.io.cloud import EXTENSIONS, find_clouds, names_for, open_cloud, read_all
from pc3d.models.weights import read_weights
from pc3d.utils.files import write_json

log = logging.getLogger(__name__)

_SOME = list_of(INTEGER)
KINDS = {
    "pred": PATH,
    "truth": PATH,
    "pred_column": optional(TEXT),
    "truth_column": optional(TEXT),
    "names": list_of(TEXT),
    "classes": optional(TEXT),
    "map": optional(map_of(INTEGER, INTEGER)),
    "ignore": Kind(f"{_SOME.words}, or others", lambda v: v == "others" or _SOME.holds(v)),
    "out": optional(PATH),
}
"""What the keys of `conf/eval.yaml` may hold."""
_TOLERANCE = 0.01
"""Metres that the coordinates of a point may differ by, since formats round them."""
Ids = NDArray[np.int64]


def evaluate(options: DictConfig) -> Result:
    """Score predictions against the truth, all files together.

    The ids that count are those of `classes`, whose map also says which ids are one class and which
    do not count, or else those that the truth has; a prediction of another id is a miss of the true
    class and nobody's false positive, as in ScanNet's evaluator.

    Args:
        options: `conf/eval.yaml`.

    Raises:
        FileNotFoundError, ValueError: files that are missing, or that do not belong together.
    """
    found = list(pairs(Path(options.pred).expanduser(), Path(options.truth).expanduser()))
    out = None if options.out is None else Path(options.out).expanduser()
    _check_output(out, found)
    plain: Any = OmegaConf.to_container(options)
    mapping = plain["map"] or {}
    takes_others = plain["ignore"] == "others"
    ignored = set() if takes_others else {*plain["ignore"]}
    spec = label_space(plain["classes"])
    known: dict[int, str] = {}
    of_class: dict[int, int] = {}
    if spec is not None:
        known = dict(zip(spec.raw_ids, spec.class_names, strict=True))
        of_class = {raw: spec.raw_ids[c] for raw, c in spec.raw_to_class.items() if c >= 0}
        ignored |= {raw for raw, c in spec.raw_to_class.items() if c == IGNORE_INDEX}
    table: dict[tuple[int, int], int] = {}
    for pred, truth in found:
        for pair, count in count_ids(pred, truth, options).items():
            true, predicted = (mapping.get(i, i) for i in pair)
            if true not in ignored:
                true = of_class.get(true, true)
            mapped = true, of_class.get(predicted, predicted)
            table[mapped] = table.get(mapped, 0) + count
    seen = {true for true, _ in table}
    gone = {*mapping} - {*mapping.values()}
    ids = [i for i in (known or sorted(seen)) if i not in ignored | gone]
    outside = sorted(seen - set(known) - ignored) if known and not takes_others else []
    if outside:
        raise ValueError(
            f"{options.truth}: ids {outside[:8]} are not of {options.classes}, which has "
            f"{list(known)[:20]}; say what they are: map={{...}}, ignore=[...] or ignore=others"
        )
    if not set(ids) & seen:
        raise ValueError(f"{options.truth}: no id is left to score; it has {sorted(seen)[:20]}")
    result = {
        "metric": "miou_point",
        "protocol": f"{counted(len(found), 'file')}, pooled, ids as they stand there",
        "label_space": str(options.classes or "ids of the truth"),
        **summary(matrix_of(table, ids), [known.get(i, str(i)) for i in ids]),
        "num_points": sum(table.values()),
        "scenes": [str(pred) for pred, _ in found],
    }
    print_result(result, Console())
    if out is not None:
        write_json(out, result)
    return result


def _check_output(out: Path | None, found: Sequence[tuple[Path, Path]]) -> None:
    """Raise a `ValueError` if the scores would replace a file that is read, or a folder."""
    if out is None or not out.exists():
        return
    if out.is_dir() or any(out.samefile(path) for pair in found for path in pair):
        raise ValueError(f"out={out} is a folder or a file that is compared; choose another name")


def label_space(name: str | None) -> DatasetSpec | None:
    """The label space of this name, or of weights.

    Raises:
        FileNotFoundError: neither a label space nor weights.
    """
    if name is None:
        return None
    if name in SPECS:
        return SPECS[name]
    try:
        weights = read_weights(find_weights(name))
        return spec_of(weights.facts.get("spec", {}), weights.source)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"classes={name}: {error}. Label spaces are {', '.join(SPECS)}"
        ) from error


def pairs(pred: Path, truth: Path) -> Iterator[tuple[Path, Path]]:
    """Files that belong together: two files, or those of two folders that have the same names.

    Raises:
        FileNotFoundError: a file or folder, or the prediction of a file is missing.
        ValueError: a folder and a file.
    """
    for path, key in ((pred, "pred"), (truth, "truth")):
        if not path.exists():
            raise FileNotFoundError(f"no file or folder at {key}={path}")
    if pred.is_file() and truth.is_file():
        yield pred, truth
        return
    if pred.is_file() or truth.is_file():
        raise ValueError(f"pred={pred} and truth={truth} must be two files or two folders")
    predictions, truths = _files(pred, True), _files(truth, False)
    missing = sorted(set(truths) - set(predictions))
    if missing or not truths:
        raise FileNotFoundError(
            f"{pred} has no prediction of {', '.join(missing[:5])} in {truth}"
            if truths
            else f"{truth}: no labelled files are there ({', '.join(EXTENSIONS)})"
        )
    for name, path in truths.items():
        if predictions[name].samefile(path):
            raise ValueError(f"{path} would be compared with itself: no labelled copy is beside it")
        yield predictions[name], path


def _files(folder: Path, prefers_copies: bool) -> dict[str, Path]:
    """By their place in the folder, without extension and without the mark of a copy.

    Args:
        folder: is searched with all its folders.
        prefers_copies: whether of a file and its labelled copy the copy counts, or the file.

    Raises:
        ValueError: two files of one name.
    """
    found: dict[tuple[str, bool], Path] = {}
    for path in find_clouds(folder):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        key = stem.removesuffix(f".{MARK}"), stem.endswith(f".{MARK}")
        if key in found:
            raise ValueError(f"{found[key]} and {path} have the same name: which one counts?")
        found[key] = path
    ranked = sorted(found, key=lambda key: key[1] == prefers_copies)
    chosen = {name: found[name, is_copy] for name, is_copy in ranked}  # the last one stays
    return {name: chosen[name] for name in sorted(chosen)}


def count_ids(pred: Path, truth: Path, options: DictConfig) -> Mapping[tuple[int, int], int]:
    """Number of points for each pair of (true id, predicted id).

    Raises:
        ValueError: files without labels, or whose points are not the same.
    """
    xyz, ids = _labels(truth, options.truth_column, options.names)
    other_xyz, other_ids = _labels(pred, options.pred_column, options.names)
    if len(ids) != len(other_ids):
        raise ValueError(
            f"{pred} has {len(other_ids)} points, {truth} has {len(ids)}: every point of the truth "
            "needs one prediction, in its order"
        )
    if xyz is not None and other_xyz is not None:
        near = np.isclose(xyz, other_xyz, rtol=0, atol=_TOLERANCE, equal_nan=True)
        apart = ~near.all(axis=1)
        if apart.any():
            raise ValueError(
                f"{pred} and {truth} do not have the same points in the same order: "
                f"{int(apart.sum())} of {len(ids)} are apart (first at row {int(apart.argmax())})"
            )
    true, rows = np.unique(ids, return_inverse=True)
    predicted, columns = np.unique(other_ids, return_inverse=True)
    found, counts = np.unique(rows * len(predicted) + columns, return_counts=True)
    first, second = true[found // len(predicted)], predicted[found % len(predicted)]
    return dict(
        zip(zip(first.tolist(), second.tolist(), strict=True), counts.tolist(), strict=True)
    )


def _labels(
    path: Path, column: str | None, names: Sequence[str]
) -> tuple[NDArray[np.float64] | None, Ids]:
    """Coordinates, which a file of nothing but labels lacks, and ids."""
    if path.suffix.lower() == ".npy":
        array = map_array(path)
        if array.dtype.names is None and array.shape[1:] in ((), (1,)):
            return None, read_array(path, kinds=INTEGERS).astype(np.int64)
    cloud = open_cloud(path, names_for(path, names))
    mapping = {} if column is None else {"label": (column,)}
    fields = fields_of(cloud.columns, mapping, str(path))
    if "label" not in fields:
        raise ValueError(
            f"{path}: no column holds labels; it has {', '.join(cloud.columns) or 'none'}. Say "
            "which one does: pred_column=... or truth_column=..."
        )
    label = {"label": fields["label"]}
    xyz, columns = read_all(cloud, fields["label"])
    arrays, _ = to_arrays(xyz, columns, label, source=str(path))
    return xyz, arrays["label"]


def matrix_of(table: Mapping[tuple[int, int], int], ids: Sequence[int]) -> Tensor:
    """[C, C + 1] counts of (true id, predicted id); the last column is of no class."""
    place = {raw: i for i, raw in enumerate(ids)}
    matrix = torch.zeros(len(ids), len(ids) + 1, dtype=torch.int64)
    for (true, predicted), count in table.items():
        if true in place:
            matrix[place[true], place.get(predicted, len(ids))] += count
    return matrix


@report_errors
def main() -> None:
    """The program; its keys are those of conf/eval.yaml."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    evaluate(read_options("eval", sys.argv[1:], KINDS))


if __name__ == "__main__":
    main()
