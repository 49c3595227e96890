"""Thousands of damaged files: a clear error that names a file, or a correct read."""

from __future__ import annotations

import pytest

from tests.data.fuzzing import CASES, fuzz

pytestmark = pytest.mark.slow
NUM_PER_FILE = 100


@pytest.mark.parametrize("name", CASES)
def test_damaged_files_are_refused_by_name_or_read(name, tmp_path):
    outcomes = fuzz(name, tmp_path, NUM_PER_FILE, seed=1)
    assert min(outcomes) > 0.02 * sum(outcomes)  # both ends of the promise are seen
    assert sum(outcomes) % NUM_PER_FILE == 0 and sum(outcomes) >= NUM_PER_FILE
