"""What a test has done, scene by scene, so that it can go on where it was stopped."""

from __future__ import annotations

import io
import json
import logging
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pc3d.data.datasets.base import SceneReader
from pc3d.data.manifest import file_states
from pc3d.metrics import SceneCounts
from pc3d.utils.files import write_bytes, write_json
from pc3d.utils.run_folder import PROTOCOL

log = logging.getLogger(__name__)

SUBMISSION = "submission"
_COUNTS = "counts"
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class SceneStore:
    """The folder of one test: of one checkpoint, split and protocol.

    * `<scene>.npy`: [P] int16 classes in input order;
    * `submission/`: the same in the data set's own format;
    * `counts/<scene>.npz`: what the scene adds to the confusion matrices, and the state of its
      files. It is written last: a scene that has it is done.
    * `protocol.json`: what all of them were made with.

    Args:
        folder: named after checkpoint, split and protocol.
        reader: the data set, which knows its submission format.
    """

    def __init__(self, folder: Path, reader: SceneReader) -> None:
        self.folder, self.reader = folder, reader

    @property
    def submission(self) -> Path:
        return self.folder / SUBMISSION

    def prepare(self, scenes: Sequence[str], protocol: Any, resume: bool) -> list[str]:
        """Make the folder ready for a test; for one process, before the others start.

        Nothing stays but what is whole and of today's scenes and files.

        Args:
            scenes: the scenes of the split.
            protocol: plain values, for those who look into the folder.
            resume: False removes what is there.

        Returns:
            The scenes that are done.
        """
        if not resume:
            shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.submission, ignore_errors=True)
        write_json(self.folder / PROTOCOL, protocol)
        done = [scene for scene in scenes if self.has(scene)]
        kept = {path for scene in done for path in (self._classes(scene), self._counts(scene))}
        patterns = ("*.npy", "*.npz", ".*.tmp")  # the last of a test that was killed
        for path in {path for pattern in patterns for path in self.folder.rglob(pattern)} - kept:
            path.unlink()
        for scene in done:
            self.reader.write_prediction(self.submission, scene, self._read_classes(scene))
        return done

    def save(self, scene: str, classes: NDArray[np.int64], counts: SceneCounts) -> None:
        """Keep the classes ([P]) of a scene and its counts."""
        write_bytes(self._classes(scene), _packed(np.save, classes.astype(np.int16)))
        self.reader.write_prediction(self.submission, scene, classes)
        arrays = {name: array.cpu().numpy() for name, array in counts._asdict().items()}
        record = _packed(np.savez_compressed, files=np.array(self._state(scene)), **arrays)
        write_bytes(self._counts(scene), record)

    def has(self, scene: str) -> bool:
        """Whether a scene is done, with its files as they are now."""
        return self.counts(scene) is not None

    def counts(self, scene: str) -> SceneCounts | None:
        """The counts of a scene that is done, else None."""
        path = self._counts(scene)
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as record:
                counts = SceneCounts(*(torch.from_numpy(record[n]) for n in SceneCounts._fields))
                current = str(record["files"]) == self._state(scene)
            classes = np.load(self._classes(scene), mmap_mode="r", allow_pickle=False)
            whole = len(classes) == int(counts.num_points)
        except _DAMAGED as error:
            log.warning("%s: scene %s is tested again (%s)", self.folder, scene, error)
            return None
        return counts if current and whole else None

    def _read_classes(self, scene: str) -> NDArray[np.int64]:
        return np.load(self._classes(scene), allow_pickle=False).astype(np.int64)

    def _state(self, scene: str) -> str:
        return json.dumps(file_states(self.reader.source_files(scene)))

    def _classes(self, scene: str) -> Path:
        return self.folder / f"{scene}.npy"

    def _counts(self, scene: str) -> Path:
        return self.folder / _COUNTS / f"{scene}.npz"


def _packed(save: Any, *arrays: Any, **named: Any) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *arrays, **named)
    return buffer.getvalue()
