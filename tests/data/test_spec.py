"""From the ids of files to classes and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pc3d.data.spec import IGNORE_INDEX, DatasetSpec
from pc3d.data.specs import SPECS

SPARSE = DatasetSpec(
    name="sparse",
    class_names=("a", "b"),
    palette=((0, 0, 0), (1, 1, 1)),
    raw_ids=(7, 3),
    raw_to_class={7: 0, 3: 1, 9: 0, 5: IGNORE_INDEX},
)


@given(spec=st.sampled_from([SPARSE, *SPECS.values()]), data=st.data())
def test_ids_become_classes_one_by_one(spec, data):
    ids = data.draw(st.lists(st.sampled_from(sorted(spec.raw_to_class)), max_size=30))
    dtype = data.draw(st.sampled_from(["<u4", "<i8", "u2"]))
    classes = spec.to_class(np.array(ids, dtype=dtype), "a.label")
    assert classes.dtype == np.int64
    assert classes.tolist() == [spec.raw_to_class[raw_id] for raw_id in ids]


@pytest.mark.parametrize("wrong", [2, 4, 8, 10, -1, 2**31])
def test_an_id_below_within_or_above_is_named(wrong):
    with pytest.raises(ValueError, match=rf"a\.label: label ids \[{wrong}\] .* \(known: 3\.\.9\)"):
        SPARSE.to_class(np.array([3, wrong, 9, wrong]), "a.label")


def test_eight_wrong_ids_are_enough():
    with pytest.raises(ValueError, match=r"label ids \[20, 21, 22, 23, 24, 25, 26, 27\] are"):
        SPARSE.to_class(np.arange(40, 19, -1), "a.label")
