"""A trained network's weights in one with more codes."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from pc3d.models import VoxelTransformer
from pc3d.models.checkpoint import FORMAT, KEY, PREFIX, load_network
from pc3d.models.growth import grow_codes
from pc3d.nn import CodebookAttention, VoxelTransformerBlock
from pc3d.sparse import Batch, SparseTensor
from tests.attack import CLOUDS, asymmetric
from tests.parity import coords_of

NEAR, FAR, COARSE = {}, {"dilation": 2}, {"stride": 2}
FLAT = {"shape": "mask", "masks": ["0" * 9 + "1" * 9 + "0" * 9, "1" * 27]}  # as YAML gives them


def network(*codes: dict, seed: int = 0, **options: object) -> VoxelTransformer:
    torch.manual_seed(seed)
    options = {"groups": 2, "choice": {}, "split": {"noise": 0.0}} | options
    attention = partial(CodebookAttention, codes=codes, **options)
    block = partial(VoxelTransformerBlock, attention=attention)
    sizes = {"widths": [4, 6, 8, 6], "depths": [1, 1, 1, 1], "attention_stages": [1, 2]}
    net = VoxelTransformer(in_channels=2, num_classes=3, block=block, **sizes)
    return net.double().eval()


def logits(net: VoxelTransformer) -> Tensor:
    coords = coords_of(CLOUDS["three, one empty"])
    return net(Batch(None, SparseTensor(coords, asymmetric(len(coords), 2)), None)).logits


def checkpoint(net: VoxelTransformer) -> dict:
    state = {PREFIX + name: value for name, value in net.state_dict().items()}
    return {"state_dict": state, KEY: {"format": FORMAT, "model": "small"}}


@pytest.mark.parametrize("options", [{}, {"position": "table"}, {"from_offsets": 4}], ids=str)
@pytest.mark.parametrize(
    "codes", [(FAR, NEAR, FAR, NEAR), (FAR, NEAR, NEAR), (FAR, NEAR, NEAR, NEAR, FAR, FAR)]
)
def test_a_larger_codebook_gives_the_same_scores(codes, options):
    small, large = network(FAR, NEAR, **options), network(*codes, seed=1, **options)
    load_network(large, checkpoint(small), "small.ckpt")
    torch.testing.assert_close(logits(large), logits(small))


def test_codes_with_masks_are_copied_with_their_masks():
    small, large = network(FLAT, NEAR), network(FLAT, NEAR, FLAT, seed=1)
    load_network(large, checkpoint(small), "small.ckpt")
    torch.testing.assert_close(logits(large), logits(small))


def test_codes_of_the_other_stride_are_copied():
    small, large = network(COARSE, NEAR), network(COARSE, NEAR, NEAR, COARSE, seed=1)
    load_network(large, checkpoint(small), "small.ckpt")
    torch.testing.assert_close(logits(large), logits(small))


def test_noise_tells_the_copies_apart():
    small = network(FAR, NEAR)
    large = network(FAR, NEAR, FAR, split={"noise": 0.2})
    load_network(large, checkpoint(small), "small.ckpt")
    book = large.backbone.encoder[1][0].attention.codebook
    first, second, third = book.weight.split(27)
    assert torch.equal(second, small.backbone.encoder[1][0].attention.codebook.weight[27:])
    assert 0.1 < float(((third - first).std() / first.std()).detach()) < 0.3
    assert book.share.tolist() == [0.5, 1, 0.5]


def test_codes_that_are_to_be_split_later_stay_away():
    small, large = network(FAR, NEAR), network(FAR, NEAR, split={"at": (0.5,), "noise": 0.0})
    load_network(large, checkpoint(small), "small.ckpt")
    layer = large.backbone.encoder[1][0].attention
    assert (layer.num_born, len(layer.codebook)) == (2, 4)
    torch.testing.assert_close(logits(large), logits(small))
    layer.split()
    torch.testing.assert_close(logits(large), logits(small))


def test_codes_that_were_still_to_come_are_nobodys_parents():
    small = network(FAR, NEAR, split={"at": (0.5,), "noise": 0.0})
    large = network(FAR, NEAR, FAR, NEAR, NEAR, NEAR, seed=1)
    load_network(large, checkpoint(small), "small.ckpt")
    share = large.backbone.encoder[1][0].attention.codebook.share
    torch.testing.assert_close(share, torch.tensor([1, 1 / 3, 0, 0, 1 / 3, 1 / 3]).double())
    torch.testing.assert_close(logits(large), logits(small))


def test_codes_of_the_same_number_are_loaded_as_they_are():
    small = network(FAR, NEAR)
    state = small.state_dict()
    assert grow_codes(network(FAR, NEAR, seed=1), state) == state


def test_a_new_neighbourhood_is_refused():
    small, large = network(FAR, NEAR), network(FAR, NEAR, {"dilation": 3})
    with pytest.raises(ValueError, match=r"code 2 .*dilation=3.* none of the 2 codes"):
        load_network(large, checkpoint(small), "small.ckpt")


def test_the_same_taps_at_another_stride_are_a_new_neighbourhood():
    small, large = network(FAR, NEAR), network(FAR, NEAR, COARSE)
    with pytest.raises(ValueError, match=r"code 2 .*stride=2.* none of the 2 codes"):
        load_network(large, checkpoint(small), "small.ckpt")


def test_fewer_codes_are_refused():
    small, large = network(FAR, NEAR), network(FAR, NEAR, FAR)
    with pytest.raises(ValueError, match="holds another model"):
        load_network(small, checkpoint(large), "large.ckpt")


def test_further_codes_hide_no_other_difference():
    small, large = network(FAR, NEAR), network(FAR, NEAR, FAR, groups=4)
    with pytest.raises(ValueError, match=r"shape of .*queries\.0\.weight"):
        load_network(large, checkpoint(small), "small.ckpt")
