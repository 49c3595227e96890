import pytest

from pc3d.search.targets import Targets, shown


def test_units():
    targets = Targets.parsed(
        {"latency": "20ms", "memory": "1.5 GiB", "macs": "5G", "parameters": "2e2K"}
    )
    assert targets.limits == {
        "latency": pytest.approx(0.02),
        "memory": 1.5 * 2**30,
        "macs": 5e9,
        "parameters": 2e5,
    }
    assert str(Targets.parsed({"latency": "20ms", "macs": "5G"})) == "latency 20 ms, macs 5 G"
    assert Targets.parsed({"latency": "0.02s", "macs": "5G"}).name == "latency-20ms_macs-5G"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("latency", "20", "unit of us, ms, s, such as 20ms"),
        ("latency", 20, "unit of us, ms, s"),
        ("latency", "-1ms", "number above 0"),
        ("latency", "0ms", "number above 0"),
        ("latency", "20GiB", "unit of us, ms, s"),
        ("memory", "1G", "unit of KiB, MiB, GiB"),
        ("lat", "20ms", "targets are latency, memory, macs, parameters"),
    ],
)
def test_what_is_no_target(key, value, message):
    with pytest.raises(ValueError, match=message):
        Targets.parsed({key: value})


def test_no_target():
    with pytest.raises(ValueError, match=r"target\.latency=20ms"):
        Targets.parsed({"latency": None, "memory": None})


def test_violation_is_the_sum_of_fractions_beyond():
    targets = Targets({"latency": 0.02, "macs": 1e9})
    assert targets.violation({"latency": 0.02, "macs": 1e9, "memory": 1e12}) == 0
    assert targets.violation({"latency": 0.03, "macs": 1.25e9}) == pytest.approx(0.75)
    assert targets.violation({"latency": 0.01, "macs": 1.25e9}) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("latency", 0.02, "20 ms"),
        ("latency", 3e-7, "0.3 us"),
        ("latency", 2.5, "2.5 s"),
        ("memory", 2**20, "1 MiB"),
        ("memory", 100, "0.0977 KiB"),
        ("parameters", 0, "0 K"),
        ("macs", 1.234e9, "1.23 G"),
    ],
)
def test_shown_with_the_unit_that_suits(key, value, text):
    assert shown(key, value) == text
