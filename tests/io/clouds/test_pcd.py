"""pcd files, written by hand as the Point Cloud Library writes them."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.io.cloud import open_cloud, read_cloud
from pc3d.io.clouds.lzf import decompress

NUM = 23
ENCODINGS = ("ascii", "binary", "binary_compressed")
KIND_OF = {"f": "F", "i": "I", "u": "U"}


def compress(content: bytes) -> bytes:
    """LZF: where the same three bytes stood before, as much as follows alike, else literals."""
    out, literals, place, seen = bytearray(), bytearray(), 0, {}

    def flush() -> None:
        for start in range(0, len(literals), 32):
            block = literals[start : start + 32]
            out.append(len(block) - 1)
            out.extend(block)
        literals.clear()

    while place < len(content):
        key = content[place : place + 3]
        start = seen.get(key, -8193)
        seen[key] = place
        if len(key) < 3 or place - start > 8192:
            literals.append(content[place])
            place += 1
            continue
        end = place
        while end < min(len(content), place + 264) and content[end] == content[start + end - place]:
            end += 1
        flush()
        length, (high, low) = end - place, divmod(place - start - 1, 256)
        out += bytes([length - 2 << 5 | high, low] if length < 9 else [224 | high, length - 9, low])
        place = end
    flush()
    return bytes(out)


def write_pcd(path: Path, fields: dict[str, np.ndarray], encoding: str, **entries: str) -> None:
    """`fields`: [P] or [P, C]; those whose name begins with _ are padding."""
    tables = {name: array.reshape(len(array), -1) for name, array in fields.items()}
    header = {
        "VERSION": "0.7",
        "FIELDS": " ".join("_" if name[0] == "_" else name for name in tables),
        "SIZE": " ".join(str(a.dtype.itemsize) for a in tables.values()),
        "TYPE": " ".join(KIND_OF[a.dtype.kind] for a in tables.values()),
        "COUNT": " ".join(str(a.shape[1]) for a in tables.values()),
        "WIDTH": str(NUM),
        "HEIGHT": "1",
        "VIEWPOINT": "0 0 0 1 0 0 0",
        "POINTS": str(NUM),
        **entries,
        "DATA": encoding,
    }
    text = "# .PCD v0.7\n" + "".join(f"{key} {value}\n" for key, value in header.items() if value)
    if encoding == "ascii":
        rows = [" ".join(repr(v.item()) for a in tables.values() for v in a[i]) for i in range(NUM)]
        body = "\n".join(rows).encode()
    elif encoding == "binary":
        body = b"".join(a[i].tobytes() for i in range(NUM) for a in tables.values())
    else:
        plain = b"".join(a.tobytes() for name, a in tables.items() if name[0] != "_")
        small = compress(plain)
        body = struct.pack("<II", len(small), len(plain)) + small
    path.write_bytes(text.encode() + body)


def sample() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        **{axis: rng.normal(size=NUM).astype(np.float32) for axis in "xyz"},
        "_1": np.zeros(NUM, np.float32),
        "normal": rng.normal(size=(NUM, 3)),
        "ring": rng.integers(0, 2**16, NUM, dtype=np.uint16),
        "t": rng.integers(-(2**63), 2**63 - 1, NUM),
        "_2": np.zeros((NUM, 5), np.uint8),
        "tag": rng.integers(-128, 128, NUM, dtype=np.int8),
        "id": rng.integers(0, 2**64 - 1, NUM, dtype=np.uint64),
    }


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_fields_of_every_type(tmp_path, encoding):
    fields = sample()
    write_pcd(tmp_path / "a.pcd", fields, encoding)
    cloud = open_cloud(tmp_path / "a.pcd")
    expected = {f"normal_{i}": fields["normal"][:, i] for i in range(3)}
    expected.update((name, fields[name]) for name in ("ring", "t", "tag", "id"))
    assert dict(cloud.columns) == {name: array.dtype for name, array in expected.items()}
    found = read_cloud(tmp_path / "a.pcd", list(expected))
    np.testing.assert_array_equal(found.xyz, np.stack([fields[axis] for axis in "xyz"], axis=1))
    for name, array in expected.items():
        np.testing.assert_array_equal(found.columns[name], array)
    assert cloud.remarks == ()


@pytest.mark.parametrize("kind", ["<f4", "<u4"])
@pytest.mark.parametrize("name", ["rgb", "rgba"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_packed_colors(tmp_path, encoding, name, kind):
    fields = sample()
    rng = np.random.default_rng(3)
    colors = rng.integers(0, 256, (NUM, 4), dtype=np.uint8)
    colors[:, 3] &= 0x3F  # no exponent of all ones: NaNs do not outlive text
    packed = colors[:, [2, 1, 0, 3]].copy().view("<u4")[:, 0].view(kind)
    write_pcd(tmp_path / "a.pcd", {**fields, name: packed}, encoding)
    names = ["red", "green", "blue", "alpha"][: len(name)]
    cloud = open_cloud(tmp_path / "a.pcd")
    assert list(cloud.columns)[-len(names) :] == names and name not in cloud.columns
    found = read_cloud(tmp_path / "a.pcd", names).columns
    for i, color in enumerate(names):
        assert found[color].dtype == np.uint8
        np.testing.assert_array_equal(found[color], colors[:, i])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_points_that_are_not_finite_stay_and_are_remarked(tmp_path, encoding):
    fields = sample()
    fields["y"][[2, 4]], fields["x"][4], fields["z"][9] = np.nan, np.inf, -np.inf
    write_pcd(tmp_path / "a.pcd", fields, encoding)
    cloud = open_cloud(tmp_path / "a.pcd")
    assert cloud.remarks == (f"3 of {NUM} points have no finite coordinates",)
    xyz = read_cloud(tmp_path / "a.pcd").xyz
    np.testing.assert_array_equal(xyz, np.stack([fields[axis] for axis in "xyz"], axis=1))


def test_headers_that_other_programs_write(tmp_path):
    """No COUNT, no POINTS, small letters, carriage returns, comments; tabs and blank lines."""
    text = (
        "# .PCD v.5 - made by hand\r\nversion .5\r\nfields z y x\r\nsize 4 8 4\r\nTYPE F F I\r\n"
        "WIDTH 1\r\nHEIGHT 2 # two rows\r\ndata ASCII\r\n"
        "0.5\t2.5  -3\r\n\r\n# a comment\r\n  1e1 nan 4  \r\n"
    )
    (tmp_path / "a.pcd").write_bytes(text.encode())
    xyz = read_cloud(tmp_path / "a.pcd").xyz
    np.testing.assert_array_equal(xyz, [[-3, 2.5, 0.5], [4, np.nan, 10]])


def test_bytes_behind_the_points_are_no_points(tmp_path):
    write_pcd(tmp_path / "a.pcd", sample(), "binary")
    expected = read_cloud(tmp_path / "a.pcd").xyz
    with (tmp_path / "a.pcd").open("ab") as file:
        file.write(b"\0" * 999)
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.pcd").xyz, expected)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_truncated_anywhere(tmp_path, encoding):
    write_pcd(tmp_path / "a.pcd", sample(), encoding)
    content = (tmp_path / "a.pcd").read_bytes()
    for end in [*range(0, 300, 11), *range(300, len(content) - 30, 97), len(content) - 30]:
        (tmp_path / "b.pcd").write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"/b\.pcd: "):
            open_cloud(tmp_path / "b.pcd")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"FIELDS": ""}, "not a pcd file"),
        ({"SIZE": "4 4 4"}, "damaged pcd header"),
        ({"SIZE": "3 4 4 4"}, "damaged pcd header .*TYPE F of SIZE 3"),
        ({"TYPE": "F F F Q"}, "damaged pcd header"),
        ({"COUNT": "1 1 1 0"}, "damaged pcd header .*COUNT"),
        ({"COUNT": "1 1 1 1000000000000"}, "damaged pcd header .*COUNT"),
        ({"COUNT": "1 1 1 one"}, "damaged pcd header"),
        ({"POINTS": "-1"}, "damaged pcd header .*-1 points"),
        ({"POINTS": "1000000000000"}, "truncated|1000000000000 points"),
        ({"POINTS": "", "WIDTH": ""}, "damaged pcd header"),
        ({"POINTS": "24"}, "truncated|24 points"),
        ({"FIELDS": "x y z z"}, "a name of its own"),
        ({"FIELDS": "x y a b"}, "no coordinates"),
        ({"POINTS": "0"}, "no points|368 bytes"),
    ],
)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_headers_that_lie(tmp_path, encoding, entries, words):
    fields = {**{axis: sample()[axis] for axis in "xyz"}, "a": sample()["x"]}
    write_pcd(tmp_path / "a.pcd", fields, encoding, **entries)
    with pytest.raises(ValueError, match=rf"/a\.pcd: .*({words})") as error:
        open_cloud(tmp_path / "a.pcd")
    assert len(str(error.value)) < 700


def test_an_unknown_encoding(tmp_path):
    write_pcd(tmp_path / "a.pcd", sample(), "binary")
    content = (tmp_path / "a.pcd").read_bytes()
    (tmp_path / "a.pcd").write_bytes(content.replace(b"DATA binary", b"DATA jpeg"))
    with pytest.raises(ValueError, match=r"a\.pcd: damaged pcd header \(DATA jpeg"):
        open_cloud(tmp_path / "a.pcd")


BY_LIBLZF = bytes.fromhex(
    "05706333642070e0ff04e115081f000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    "08202122232425262700e0ff00e0ff00e0a200026162634002016264"
)
PLAIN = b"pc3d " * 60 + bytes(range(40)) + bytes(700) + b"abcabcabd"


def test_what_liblzf_compressed():
    assert decompress(BY_LIBLZF, len(PLAIN)) == PLAIN


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(1, 90)), max_size=8))
def test_whatever_was_compressed(parts):
    content = b"".join(part * times for part, times in parts)
    assert decompress(compress(content), len(content)) == content


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 500))
def test_damaged_compression(content, num_bytes):
    """It ends, in little memory, and never with another number of bytes."""
    with contextlib.suppress(ValueError, IndexError):
        assert len(decompress(content, num_bytes)) == num_bytes


@pytest.mark.parametrize(
    ("place", "value"), [(0, b"\x01"), (4, b"\xff"), (8, b"\xe0"), (40, b"\xff\xff\xff")]
)
def test_damaged_compressed_files(tmp_path, place, value):
    write_pcd(tmp_path / "a.pcd", sample(), "binary_compressed")
    content = (tmp_path / "a.pcd").read_bytes()
    place += content.index(b"DATA binary_compressed\n") + 23
    (tmp_path / "a.pcd").write_bytes(content[:place] + value + content[place + len(value) :])
    with pytest.raises(ValueError, match=r"/a\.pcd: "):
        open_cloud(tmp_path / "a.pcd")
