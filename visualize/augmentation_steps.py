"""The steps of an augmentation one by one, and what each makes of a scene.

A step is the very object that training calls. Only probabilities are changed: what happens now and
then in training happens here.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pc3d.data import transforms
from pc3d.data.datasets.base import SampleKey, SceneDataset
from pc3d.data.sample import POINT_FIELDS, PointSample
from pc3d.data.spec import DatasetSpec
from pc3d.data.transforms import Augmentation, Mix, OneOf, OtherScenes
from pc3d.data.transforms.mixing import join
from pc3d.data.voxelize import CropVoxels, Voxelize
from visualize.geometry import check_cloud

Function = Callable[[PointSample, OtherScenes, np.random.Generator], PointSample]

PROBABILITIES = ("p", "swap", "paste")
"""Parameters of transforms and mixes that say how often something happens."""
NO_STEPS = ("Augmentation", "Mix", "OneOf", "OtherScenes", "Transform")
"""Of `pc3d.data.transforms`: what does nothing by itself."""


@dataclass(frozen=True)
class Step:
    """One step of an augmentation.

    Attributes:
        name: of the class or function.
        place: where it stands, such as `"train 3"`; empty if it is not in the augmentation.
        function: makes it happen.
        parameters: those of training, as text.
        remark: what else there is to know.
    """

    name: str
    place: str
    function: Function
    parameters: str
    remark: str = ""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a scene.

    Attributes:
        after: the scene afterwards, or None if the step failed.
        mates: the other scenes that were drawn.
        error: why it failed, or the empty string.
        num_voxels: of the scene afterwards, where it was voxelized.
    """

    after: PointSample | None
    mates: tuple[PointSample, ...] = ()
    error: str = ""
    num_voxels: int | None = None


class Unfit(NamedTuple):
    """A transform that has no place here, and the reason."""

    name: str
    reason: str


def forced(transform: Any) -> Any:
    """The same transform or mix with every probability at one; of what is no dataclass, itself."""
    rare = _rare(transform)
    return dataclasses.replace(transform, **dict.fromkeys(rare, 1.0)) if rare else transform


def _rare(transform: Any) -> list[str]:
    """The parameters of a dataclass that make it happen only now and then."""
    if not dataclasses.is_dataclass(transform):
        return []
    return [name for name in PROBABILITIES if getattr(transform, name, 1) != 1]


def steps_of(augment: Augmentation, voxelize: Voxelize, max_voxels: int) -> list[Step]:
    """The steps of training in their order.

    Args:
        augment: of training.
        voxelize: what follows the transforms.
        max_voxels: to which larger scenes are cropped.
    """
    steps = [
        _step(mix, f"mix {number}", True, remark)
        for number, listed in enumerate(augment.mix, 1)
        for mix, remark in _alternatives(listed)
    ]
    steps += [_step(made, f"train {k}", False) for k, made in enumerate(augment.train, 1)]
    if augment.mix3d > 0:
        steps.append(_mix3d("mix3d", f"mix3d={augment.mix3d:g}"))

    def crop(sample: PointSample, others: OtherScenes, rng: np.random.Generator) -> PointSample:
        return CropVoxels(max_voxels=max_voxels)(voxelize(sample), rng).points

    sizes = f"max_voxels={max_voxels:,} voxel_size={voxelize.voxel_size:g}"
    return [*steps, Step("CropVoxels", "last", crop, sizes)]


def _alternatives(mix: Mix, remark: str = "") -> Iterator[tuple[Mix, str]]:
    if not isinstance(mix, OneOf):
        yield mix, remark
        return
    for part in mix.mixes:
        yield from _alternatives(part, f"one of {len(mix.mixes)} in OneOf, p={mix.p:g}")


def _step(made: Any, place: str, is_mix: bool, remark: str = "") -> Step:
    certain = forced(made)

    def alone(sample: PointSample, others: OtherScenes, rng: np.random.Generator) -> PointSample:
        after: PointSample = certain(sample, rng)
        return after

    parameters = ""
    if dataclasses.is_dataclass(made):
        names = [field.name for field in dataclasses.fields(made) if field.init]
        parameters = " ".join(f"{name}={getattr(made, name)}" for name in names)
    here = [f"here {' and '.join(f'{name}=1' for name in _rare(made))}"] if _rare(made) else []
    function = getattr(made, "func", made)  # of a partial one
    return Step(
        name=getattr(function, "__name__", type(made).__name__),
        place=place,
        function=certain if is_mix else alone,
        parameters=parameters,
        remark="; ".join([remark] * bool(remark) + here),
    )


def _mix3d(place: str, parameters: str) -> Step:
    def merge(sample: PointSample, others: OtherScenes, rng: np.random.Generator) -> PointSample:
        return join(sample, others.draw(rng))

    remark = "here always, where files have the scenes; in training after their transforms"
    return Step("Mix3D", place, merge, parameters, remark)


def other_steps(
    known: Sequence[Step], sample: PointSample, spec: DatasetSpec, voxel_size: float, bank: Path
) -> tuple[list[Step], list[Unfit]]:
    """The transforms of pc3d that an augmentation does not have, and those that do not fit.

    Args:
        known: steps of the augmentation.
        sample: the scene.
        spec: its label space.
        voxel_size: metres, where a transform must be given one.
        bank: folder of the bank of instances, which need not be there.
    """
    present = {step.name for step in known}
    is_lidar = spec.sensor == "lidar"
    steps: list[Step] = []
    unfit: list[Unfit] = []
    examples = _examples(sample, spec, voxel_size, bank)
    for name in transforms.__all__:
        if name in NO_STEPS or name in present:
            continue
        kind, values = getattr(transforms, name), examples.get(name, {})
        if getattr(kind, "for_lidar", is_lidar) != is_lidar:
            are = "are" if is_lidar else "are not"
            reason = f"{'not ' if is_lidar else ''}for scans of a LiDAR at (0, 0, 0)"
            unfit.append(Unfit(name, f"{reason}, which scenes of {spec.name} {are}"))
            continue
        try:
            made = kind(**values)
        except (TypeError, ValueError) as error:
            unfit.append(Unfit(name, f"there is no example of its parameters: {error}"))
            continue
        remark = f"{' and '.join(values)}: an example, there is no default" if values else ""
        is_mix = "others" in inspect.signature(made).parameters
        steps.append(_step(made, "", is_mix, remark))
    if "Mix3D" not in present:
        steps.append(_mix3d("", ""))
    return steps, unfit


def _examples(
    sample: PointSample, spec: DatasetSpec, voxel_size: float, bank: Path
) -> dict[str, dict[str, Any]]:
    """Parameters that have no default, for this scene."""
    distance = np.linalg.norm(sample.xyz, axis=1)
    bounds = {"max_distance": round(float(np.percentile(distance, 80)), 1) or 1.0}
    things = []
    if sample.segment is not None and sample.instance is not None:
        found = np.unique(sample.segment[sample.instance >= 0])
        things = [spec.class_names[c] for c in found if c >= 0]
    return {
        "GridSample": {"voxel_size": voxel_size},
        "SphereCrop": {"sample_rate": 0.6},
        "ClampRange": bounds,
        "RangeFilter": bounds,
        "PolarMix": {"classes": things},
        "InstanceCutMix": {"bank": bank},
    }


class _Drawn:
    """The other scenes, and which of them were drawn."""

    def __init__(self, others: OtherScenes) -> None:
        self.others = others
        self.mates: list[PointSample] = []

    @property
    def spec(self) -> DatasetSpec:
        return self.others.spec

    def draw(self, rng: np.random.Generator) -> PointSample:
        self.mates.append(self.others.draw(rng))
        return self.mates[-1]


def read_only(sample: PointSample) -> PointSample:
    """The same sample; whoever writes into its arrays gets an error."""
    for field in (*POINT_FIELDS, "origin"):
        array = getattr(sample, field)
        if array is not None:
            array.setflags(write=False)
    return sample


def apply(step: Step, sample: PointSample, others: OtherScenes, seed: Sequence[int]) -> Outcome:
    """What a step alone makes of a scene.

    Args:
        step: which.
        sample: `read_only`.
        others: for mixes.
        seed: of the generator.
    """
    drawn = _Drawn(others)
    try:
        after = step.function(sample, drawn, np.random.default_rng(seed))
        check_cloud(after.xyz)
    except Exception as error:  # noqa: BLE001  whatever a transform throws, the page shows it
        return Outcome(None, error=_message(error))
    return Outcome(after, tuple(drawn.mates))


def apply_all(dataset: SceneDataset, index: int, epoch: int, merged: int | None = None) -> Outcome:
    """What training makes of a scene in an epoch; probabilities are as configured.

    Args:
        dataset: of training.
        index: of the scene.
        epoch: number, from 0.
        merged: index of the scene that it becomes one with, or None.
    """
    try:
        found = dataset[SampleKey(epoch, index, merged)]
        check_cloud(found.points.xyz)
    except Exception as error:  # noqa: BLE001  likewise
        return Outcome(None, error=_message(error))
    return Outcome(found.points, num_voxels=found.num_voxels)


def _message(error: Exception) -> str:
    kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
    return f"{kind}{error}"
