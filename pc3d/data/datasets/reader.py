"""What readers of data sets have in common: a choice of layouts, labels, submissions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pc3d.data.datasets.base import check_split, missing_data, raw_predictions
from pc3d.data.datasets.layout import Layout, ProcessedLayout, scene_sample
from pc3d.data.sample import PointSample
from pc3d.data.spec import DatasetSpec
from pc3d.io.submission import SubmissionFormat


class LayoutReader:
    """A `SceneReader` of a data set whose files exist in several layouts.

    Args:
        root: the folder of the data set.
        spec: the label space.
        layouts: the first that is there is read. It is looked for when scenes are listed, since the
            data may be made after this object, and kept from then on, so that data which are
            prepared during a run are not mixed into it.
        segments: names of the arrays that may hold the labels, the first that is there counts.
        settings: options that decide over what is read; prepared folders must have been made with
            the same.
    """

    title: ClassVar[str]
    """Name of the data set, in messages."""
    download: ClassVar[str]
    """Where to get it."""
    expected: ClassVar[str]
    """The files that it consists of, a line each."""
    submission: ClassVar[SubmissionFormat]
    """The form of its predictions."""
    official: ClassVar[Mapping[str, int]] = MappingProxyType({})
    """Number of scenes of the whole splits."""
    conventions: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    """How files of points become scenes, see `SceneReader`."""

    def __init__(
        self,
        root: str | Path,
        spec: DatasetSpec,
        layouts: Sequence[Layout],
        segments: Sequence[str] = ("segment",),
        settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.root, self.spec, self.settings = Path(root), spec, dict(settings)
        self._layouts, self._segments = tuple(layouts), tuple(segments)
        self._listed: Layout | None = None

    @property
    def layout(self) -> Layout:
        """The layout that the scenes were listed from; before that, the one at `root`.

        Raises:
            FileNotFoundError: none is there; the message says what is expected.
        """
        return self._listed or self._look()

    def _look(self) -> Layout:
        for layout in self._layouts:
            if layout.is_there():
                return layout
        found = "it is a folder of other things" if self.root.is_dir() else "there is no folder"
        raise missing_data(self.title, self.root, found, self.download, self.expected)

    def scenes(self, split: str) -> list[str]:
        """Names of the scenes of a split."""
        check_split(split)
        layout = self.layout
        if isinstance(layout, ProcessedLayout):
            layout.check_settings(self.settings)
        scenes = self._scenes(layout, split)
        self._listed = layout
        return scenes

    def _scenes(self, layout: Layout, split: str) -> list[str]:
        return layout.scenes(split)

    def read(self, scene: str, split: str) -> PointSample:
        """Read one scene."""
        check_split(split)
        layout = self.layout
        arrays, files = layout.arrays(scene), layout.files(scene)
        if split != "test" and not any(name in arrays for name in self._segments):
            raise FileNotFoundError(
                f"{layout.label_path(scene)}: the labels of {scene} ({split}) are missing, and "
                f"only the test split does without. Download: {self.download}"
            )
        return scene_sample(scene, arrays, files, self.spec, self._segments)

    def source_files(self, scene: str) -> list[Path]:
        """The files that a scene follows from; those that the layout leaves open need not exist."""
        layout = self.layout
        return [*layout.files(scene), *layout.shared_files(scene)]

    def write_prediction(self, folder: Path, scene: str, classes: NDArray[np.int64]) -> None:
        """Write one class per point ([P], in the order of the file) in the form of a submission."""
        self.submission.write(folder, scene, raw_predictions(self.spec, scene, classes))

    def validate(self, folder: Path, split: str) -> int:
        """Check a folder of written predictions; returns the number of files."""
        scenes = self.scenes(split)
        num_points = {scene: self.layout.num_points(scene) for scene in scenes}
        return self.submission.validate(folder, num_points, self.spec.raw_ids)

    def pack(self, folder: Path, split: str) -> Path | None:
        """Pack a folder of valid predictions as `<folder>.zip`."""
        number = len(self.scenes(split))
        if self.submission.server is None or number != self.official.get(split):
            return None
        return self.submission.pack(folder, Path(f"{folder}.zip"))
