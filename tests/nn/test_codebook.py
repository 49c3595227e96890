"""Codebooks: their kernels, masks, initial weights and regularizers."""

from __future__ import annotations

import pytest
import torch

from pc3d.nn import Codebook, CodeSpec
from pc3d.sparse import KernelSpec
from tests import oracle
from tests.attack import CLOUDS
from tests.parity import coords_of

CENTER = "0" * 13 + "1" + "0" * 13
PLANE = "".join("1" if i // 9 == 1 else "0" for i in range(27))


def test_codes_are_kernels_of_their_own():
    specs = [CodeSpec(dilation=2), CodeSpec(size=1), CodeSpec(shape="cross", dilation=3)]
    book = Codebook(6, 3, specs)
    assert book.codes().shape == (27 + 1 + 7, 6)
    coords = coords_of(CLOUDS["two"])
    kernels = [KernelSpec(3, dilation=2), KernelSpec(1), KernelSpec(3, dilation=3, shape="cross")]
    for table, kernel in zip(book.tables(coords), kernels, strict=True):
        assert table is coords.neighbors(kernel).table, "shared with every block of the level"


@pytest.mark.parametrize("size, taps", [(1, 1), (3, 27), (5, 125)])
def test_weights_are_drawn_with_the_fan_in_of_a_depthwise_kernel(size, taps):
    torch.manual_seed(0)
    weight = Codebook(512, 1, [CodeSpec(size=size)]).codes().detach()
    bound = taps**-0.5
    assert float(weight.abs().max()) <= bound
    assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.1)


def test_masks_hold_whatever_the_weights_become():
    """Group g sees the taps of mask g % 2."""
    book = Codebook(8, 4, [CodeSpec(shape="mask", masks=(CENTER, PLANE)), CodeSpec()])
    with torch.no_grad():
        book.weight.fill_(1)
    code, free = book.codes().split([27, 27])
    assert torch.equal(free, torch.ones(27, 8))
    for channel in range(8):
        mask = (CENTER, PLANE)[channel // 2 % 2]
        assert code[:, channel].tolist() == [float(digit) for digit in mask]
    book.codes().sum().backward()
    assert torch.equal(book.weight.grad, book.codes().detach())
    assert "mask" in book.state_dict()


def test_occupancy_counts_the_taps_under_each_groups_mask():
    cloud = CLOUDS["negative"]
    coords = coords_of(cloud)
    specs = [CodeSpec(shape="mask", masks=(CENTER, PLANE)), CodeSpec(dilation=2)]
    book = Codebook(8, 4, specs)
    found = book.occupancy(coords, masked=True)
    assert found.shape == (len(coords), 2, 4)
    near = torch.tensor(oracle.neighbor_table(cloud.rows, oracle.offsets(3))) >= 0
    far = torch.tensor(oracle.neighbor_table(cloud.rows, oracle.offsets(3, 2))) >= 0
    assert torch.equal(found[:, 0, 0], torch.ones(len(coords)))
    torch.testing.assert_close(found[:, 0, 1], near[9:18].float().mean(dim=0))
    torch.testing.assert_close(found[:, 1, 3], far.float().mean(dim=0))
    assert torch.equal(found[:, 0, 2:], found[:, 0, :2])
    whole = book.occupancy(coords, masked=False)
    torch.testing.assert_close(whole[:, 0, 1], near.float().mean(dim=0))
    torch.testing.assert_close(whole[:, 1], found[:, 1])


def test_generated_codes_follow_their_offsets():
    torch.manual_seed(0)
    book = Codebook(6, 2, [CodeSpec(dilation=2), CodeSpec(shape="cross")], from_offsets=8)
    codes = book.codes()
    assert codes.shape == (34, 6) and not hasattr(book, "weight")
    first = book.generator.networks[0]
    expected = first(torch.tensor([[-1.0, -1.0, -1.0], [0.0, 0.0, 1.0]])) / 27**0.5
    torch.testing.assert_close(codes[[0, 14]], expected)
    codes.sum().backward()
    assert all(p.grad is not None for p in book.parameters())


def test_diversity_and_orthogonality_tell_equal_codes_from_different_ones():
    torch.manual_seed(0)
    book = Codebook(4, 2, [CodeSpec(), CodeSpec(dilation=2), CodeSpec(shape="cross")]).double()
    with torch.no_grad():
        book.weight[27:54] = book.weight[:27]
    assert book.diversity_loss().item() == pytest.approx(1)
    assert book.orthogonality_loss().item() == pytest.approx(1)
    with torch.no_grad():  # spikes at different taps
        book.weight.zero_()
        book.weight[3], book.weight[27 + 5] = 50, 50
    assert book.diversity_loss().item() == pytest.approx(0, abs=1e-6)
    assert book.orthogonality_loss().item() == pytest.approx(0, abs=1e-12)


def test_losses_of_codes_that_cannot_be_compared_are_refused():
    book = Codebook(4, 2, [CodeSpec(), CodeSpec(shape="cross")])
    with pytest.raises(ValueError, match=r"no two codes have as many taps.*\[27, 7\]"):
        book.orthogonality_loss()


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: Codebook(8, 3, [CodeSpec()]), "3 groups for 8 channels"),
        (lambda: Codebook(8, 0, [CodeSpec()]), "0 groups"),
        (lambda: Codebook(8, 2, []), "at least one code"),
        (lambda: CodeSpec(size=2), "size 1, 3 or 5"),
        (lambda: CodeSpec(shape="mask"), "needs masks"),
        (lambda: CodeSpec(masks=(CENTER,)), "no other shape takes any"),
        (lambda: CodeSpec(shape="mask", masks=("0" * 27,)), "empties its code"),
        (lambda: CodeSpec(shape="mask", masks=("01",)), "27 digits"),
        (lambda: CodeSpec(shape="mask", masks=("2" * 27,)), "27 digits"),
    ],
)
def test_refuses(build, message):
    with pytest.raises(ValueError, match=message):
        build()
