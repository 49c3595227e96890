import pytest

from pc3d.search.records import Records
from tests.search.spaces import supernet

FACTS = {"device": "a", "scans": [1, 2]}


def test_a_record_comes_back(tmp_path):
    space = supernet().space
    Records(tmp_path, "x", FACTS).put(space.largest, {"latency": 0.25})
    again = Records(tmp_path, "x", FACTS)
    assert again.get(space.largest) == {"latency": 0.25, "arch": space.largest.plain()}
    assert again.get(space.smallest) is None
    assert again.has_any


def test_facts_are_kept_apart(tmp_path):
    records = Records(tmp_path, "x", FACTS)
    assert not records.has_any
    assert records.others() == []
    assert Records(tmp_path, "y", {"device": "b"}).others() == [FACTS]
    with pytest.raises(ValueError, match="of something else"):
        Records(tmp_path, "x", {"device": "b"})


@pytest.mark.parametrize("text", ["", "[1]", '{"latency": 1.0', '{"latency": 1.0, "arch": []}'])
def test_a_damaged_record_is_named(tmp_path, text):
    space = supernet().space
    records = Records(tmp_path, "x", FACTS)
    (tmp_path / "x" / f"{space.largest.name}.json").write_text(text)
    with pytest.raises(ValueError, match=space.largest.name):
        records.get(space.largest)
