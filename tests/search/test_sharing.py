"""Which entries of a shared tensor are used."""

from __future__ import annotations

import pytest
import torch

from pc3d.search.sharing import Part, used


def test_the_first_entries_of_every_axis():
    shared = torch.arange(60).view(3, 4, 5)
    found = used(shared, (3, 2, 4), {})
    assert torch.equal(found, shared[:, :2, :4]) and found.is_contiguous()


def test_an_axis_of_several_parts():
    shared = torch.arange(20).view(10, 2)
    found = used(shared, (5, 1), {0: (Part(2, 6), Part(3, 4))})
    assert found.flatten().tolist() == [0, 2, 12, 14, 16]


def test_all_of_it_is_itself():
    shared = torch.zeros(2, 3)
    assert used(shared, (2, 3), {}).data_ptr() == shared.data_ptr()
    scalar = torch.tensor(1.0)
    assert used(scalar, (), {}).data_ptr() == scalar.data_ptr()


@pytest.mark.parametrize("axes", [{}, {0: (Part(3, 2), Part(1, 2))}, {0: (Part(1, 2), Part(1, 2))}])
def test_more_than_there_is(axes):
    with pytest.raises(ValueError, match="entries of axis 0"):
        used(torch.zeros(4), (5,) if not axes else (4,), axes)
