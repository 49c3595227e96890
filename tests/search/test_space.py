"""Architectures as values, and what a search space refuses."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import yaml
from hydra.utils import instantiate

from pc3d.search import ArchSpec, StageSpec
from tests.search.spaces import BASIC, BLOCKS, GENES, NETWORK, VOXEL_TR, supernet


@pytest.fixture(scope="module")
def space():
    return supernet().space


def test_an_architecture_is_a_value(space):
    arch = space.sample(np.random.default_rng(0))
    again = space.sample(np.random.default_rng(0))
    assert arch == again and hash(arch) == hash(again) and arch.name == again.name
    with pytest.raises(FrozenInstanceError):
        arch.stages = ()
    assert ArchSpec.from_plain(yaml.safe_load(yaml.safe_dump(arch.plain()))) == arch
    names = {space.sample(np.random.default_rng(i)).name for i in range(50)}
    assert len(names) == len({space.sample(np.random.default_rng(i)) for i in range(50)})


def test_the_largest_and_the_smallest(space):
    first = [(s.width, s.depth, s.transition, s.block) for s in space.largest.stages]
    assert first[:2] == [(8, 2, 8, "basic"), (12, 2, 12, "voxel_tr")]
    assert first[2:] == [(16, 2, 16, "voxel_tr"), (8, 2, 8, "basic")]
    assert space.largest.stages[1] == StageSpec(12, 2, 12, "voxel_tr", 3, 4, 2)
    last = [(s.width, s.depth, s.transition, s.block) for s in space.smallest.stages]
    assert last == [(4, 1, 4, "basic"), (8, 1, 4, "basic"), (8, 1, 4, "dwconv"), (4, 1, 4, "basic")]


def test_transitions_are_whole_multiples_or_the_width_itself():
    genes = GENES | {"width": [[10, 12], [8], [8], [8]], "transition": [0.125, 0.5, 1.0]}
    space = supernet(genes=genes).space
    assert space.transitions(0, 10) == (4, 10) and space.transitions(0, 12) == (4, 12)
    assert space.transitions(1, 8) == (4, 8)


def test_samples_are_of_the_space_and_reach_all_of_it(space):
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(400)]
    for arch in archs:
        space.check(arch)
    for number, options in enumerate(space.stages):
        stages = [arch.stages[number] for arch in archs]
        assert {s.width for s in stages} == set(options.width)
        assert {s.depth for s in stages} == set(options.depth)
        assert {s.block for s in stages} == set(options.block)
        for width in options.width:
            found = {s.transition for s in stages if s.width == width}
            assert found == set(space.transitions(number, width))
    attending = [s for arch in archs for s in arch.stages if s.block == "voxel_tr"]
    assert {s.codes for s in attending} == {1, 2, 3}
    assert {s.groups for s in attending} == {2, 4, None}
    assert all((s.groups is None) == (s.codes == 1) for s in attending)
    assert all(s.codes is None for arch in archs for s in arch.stages if s.block != "voxel_tr")


def test_children_are_of_the_space(space):
    rng = np.random.default_rng(0)
    for _ in range(300):
        a, b = space.sample(rng), space.sample(rng)
        child = space.crossover(a, b, rng)
        space.check(child)
        for x, y, z in zip(a.stages, b.stages, child.stages, strict=True):
            assert z.width in (x.width, y.width) and z.depth in (x.depth, y.depth)
            assert z.block in (x.block, y.block)
        space.check(space.mutate(a, 0.3, rng))
    assert space.mutate(a, 0.0, rng) == a
    assert space.crossover(a, a, rng) == a
    changed = [space.mutate(a, 0.1, rng) != a for _ in range(200)]
    assert 0.3 < np.mean(changed) < 1


def test_the_configuration_is_of_an_ordinary_network(space):
    arch = space.smallest
    config = space.config(arch)
    assert config["_target_"] == "pc3d.models.StagedUNet"
    assert [stage["width"] for stage in config["stages"]] == [4, 8, 8, 4]
    stages = list(space.largest.stages)
    stages[1] = replace(stages[1], codes=2, groups=2, expansion=1)
    block = space.config(ArchSpec(tuple(stages)))["stages"][1]["block"]
    assert len(block["attention"]["codes"]) == 2 and block["attention"]["groups"] == 2
    assert block["expansion"] == 1
    assert VOXEL_TR["expansion"] == 2 and len(VOXEL_TR["attention"]["codes"]) == 3  # as they were


def test_configuration_and_network_are_the_same(space):
    rng = np.random.default_rng(0)
    for _ in range(20):
        arch = space.sample(rng)
        ordinary = instantiate(space.config(arch), in_channels=4, num_classes=5, _convert_="all")
        built = space.build(arch, 4, 5)
        assert str(ordinary) == str(built)
        shapes = [
            {name: tensor.shape for name, tensor in network.state_dict().items()}
            for network in (ordinary, built)
        ]
        assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("genes", "expected"),
    [
        ({"colour": [1]}, "expected width, depth.*got .*colour"),
        ({"depth": []}, r"genes\.depth: every stage needs"),
        ({"depth": [[1], [2]]}, r"genes\.depth: 2 lists for 4 stages"),
        ({"block": ["conv"]}, r"genes\.block: no kind conv; blocks has basic, voxel_tr"),
        ({"block": ["basic"]}, r"genes\.codes: none of basic has attention\.codes"),
        ({"codes": [4, 3]}, r"genes\.codes: stage 1 may have 4 codes, but voxel_tr has 3"),
        ({"groups": [3]}, r"genes\.groups: 3 groups do not divide 8 channels in stage 1"),
    ],
)
def test_options_that_no_network_can_have_are_named(genes, expected):
    with pytest.raises(ValueError, match=expected):
        supernet(genes=GENES | genes)


def test_genes_that_are_missing_are_named():
    genes = {gene: options for gene, options in GENES.items() if gene != "depth"}
    with pytest.raises(ValueError, match="expected width, depth"):
        supernet(genes=genes)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"width": 9}, "stage 1: width 9; this supernet has 8, 12"),
        ({"depth": 3}, "stage 1: depth 3; this supernet has 1, 2"),
        ({"transition": 16}, "stage 1: transition 16; this supernet has 4, 12"),
        ({"block": "votr"}, "stage 1: block votr; this supernet has voxel_tr, basic"),
        ({"codes": 5}, "stage 1: codes 5; this supernet has 3, 2, 1"),
        ({"codes": 1}, "stage 1: groups 4; this supernet has None"),
        ({"groups": 8}, "stage 1: groups 8"),
        ({"expansion": None}, "stage 1: expansion None"),
    ],
)
def test_architectures_of_another_space_are_refused(space, change, expected):
    stages = list(space.largest.stages)
    stages[1] = replace(stages[1], **change)
    with pytest.raises(ValueError, match=expected):
        space.check(ArchSpec(tuple(stages)))
    with pytest.raises(ValueError, match=expected):
        supernet().extract(ArchSpec(tuple(stages)))


def test_plain_values_that_are_no_architecture():
    with pytest.raises(ValueError, match="stage 0 of an architecture has width"):
        ArchSpec.from_plain([{"width": 8}])
    with pytest.raises(ValueError, match="stage 0 of an architecture has"):
        ArchSpec.from_plain([{"width": 8, "depth": 1, "transition": 8, "block": "basic", "k": 1}])
    with pytest.raises(ValueError, match="3 stages does not fit a supernet of 4"):
        space = supernet(network=NETWORK, blocks=BLOCKS | {"basic": BASIC}).space
        space.check(ArchSpec(space.largest.stages[:3]))
