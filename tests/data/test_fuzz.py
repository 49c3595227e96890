"""A few damaged files of every kind; `tests/slow/test_fuzz_readers.py` has thousands."""

from __future__ import annotations

import pytest

from tests.data.fuzzing import CASES, fuzz


@pytest.mark.parametrize("name", CASES)
def test_damaged_files_are_refused_by_name_or_read(name, tmp_path):
    outcomes = fuzz(name, tmp_path, num_per_file=6, seed=0)
    assert outcomes.num_refused > 0
