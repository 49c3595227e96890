from __future__ import annotations

import numpy as np
import pytest

from visualize.codes import BlockCodes, view_of


def block_of(name: str = "decoder.0.1", stride: int = 2, **fields: object) -> BlockCodes:
    """Three codes at five points."""
    defaults = {
        "neighborhoods": ("cube, dilation 2", "cross, dilation 1", ""),
        "shares": np.array([0.25, 0.7496, 0.0004]),
        "codes": np.array([2, 0, 1, 1, 1]),
    }
    return BlockCodes(name, stride, **(defaults | fields))


def test_texts_of_title_and_legend():
    block = block_of()
    assert block.title == "decoder.0.1 (stride 2)"
    assert block.labels == ["code 0: cube, dilation 2", "code 1: cross, dilation 1", "code 2"]
    assert block.percentages == ["25.0 %", "75.0 %", "0.0 %"]


@pytest.mark.parametrize(
    ("strides", "first"), [([2, 4, 8, 4, 2], 4), ([1, 2, 4], 0), ([8, 2, 2, 4], 2), ([16], 0)]
)
def test_the_last_block_of_the_finest_resolution_comes_first(strides: list[int], first: int):
    blocks = [block_of(f"b{i}", stride) for i, stride in enumerate(strides)]
    view = view_of(blocks)
    assert (view.first, view.shown) == (first, blocks[first])


def test_blocks_are_chosen_by_name():
    blocks = [block_of("encoder.1.0", 4), block_of("decoder.2.1", 2)]
    assert view_of(blocks, "encoder.1.0").first == 0
    with pytest.raises(
        ValueError, match=r"block=decoder\.2 has no .*: encoder\.1\.0, decoder\.2\.1"
    ):
        view_of(blocks, "decoder.2")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"codes": np.array([0, 3])}, r"0\.\.2; got 0\.\.3"),
        ({"codes": np.array([-1, 0])}, r"0\.\.2; got -1\.\.0"),
        ({"codes": np.array([0.0])}, r"\[P\] integers; got \(1,\) float64"),
        ({"shares": np.array([1.0])}, r"3 neighbourhoods and shares of shape \(1,\)"),
        ({"neighborhoods": ("",) * 257, "shares": np.zeros(257)}, "1 to 256 codes"),
    ],
)
def test_errors_name_the_block(fields: dict[str, object], message: str):
    with pytest.raises(ValueError, match=rf"decoder\.0\.1 must .*{message}"):
        block_of(**fields)
