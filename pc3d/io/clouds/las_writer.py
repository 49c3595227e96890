"""Writing LAS and LAZ files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pc3d.io.clouds.file import CloudFile
from pc3d.io.clouds.las import WAVEFORMS, LasCloud
from pc3d.io.clouds.las_copy import copy_las
from pc3d.io.clouds.las_new import new_las
from pc3d.io.clouds.las_output import write_output
from pc3d.utils.files import replacing


def write_las(
    source: CloudFile, target: Path, added: Mapping[str, NDArray[Any]], legend: Mapping[int, str]
) -> tuple[str, ...]:
    """Write a LAS or, by its name, a LAZ file as `pc3d.io.cloud.write_cloud` says.

    Returns:
        What is not as in the source.

    Raises:
        As `copy_las` and `new_las`, and ValueError for waveforms that cannot be compressed.
    """
    if isinstance(source, LasCloud):
        output = copy_las(source, added, legend)
    else:
        output = new_las(source, added, legend)
    compress = target.suffix.lower() == ".laz"
    if compress and output.header.point_format.id in WAVEFORMS:
        raise ValueError(
            f"{target}: point format {output.header.point_format.id} has waveforms, which are not "
            "compressed without loss. Write .las."
        )
    with replacing(target) as temporary:
        write_output(temporary, output, compress)
    return tuple(output.remarks)
