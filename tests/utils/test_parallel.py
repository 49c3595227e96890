"""Work that processes share: in order, the function sent once, errors as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pc3d.utils.parallel import parallel_map


class Adder:
    """Writes down how often it is sent to another process."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __getstate__(self) -> dict[str, Path]:
        with self.log.open("a") as file:
            file.write("sent\n")
        return {"log": self.log}

    def __call__(self, number: int) -> int:
        if number < 0:
            raise ValueError(f"{number} is negative")
        return number + 1


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("start", ["spawn", "fork"])
def test_results_come_in_order_and_the_function_is_sent_once_a_process(
    tmp_path, num_workers, start
):
    log = tmp_path / "log"
    log.touch()
    found = list(parallel_map(Adder(log), range(100), num_workers, "adding", start))
    assert found == list(range(1, 101))
    assert len(log.read_text().splitlines()) <= num_workers


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_ends_it(tmp_path, num_workers):
    (tmp_path / "log").touch()
    with pytest.raises(ValueError, match="-3 is negative"):
        list(parallel_map(Adder(tmp_path / "log"), [1, -3, 2], num_workers, "adding"))
