"""Damage to the content of a file: what disks, downloads, editors and other programs do."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

Mutation = Callable[[bytes, np.random.Generator], bytes]
_TOKENS = (
    b"nan", b"inf", b"-1", b"1e999", b"1000000000000", b"-9223372036854775809", b"9" * 5000,
    b"4294967295", b"2147483648", b"0.5", b"null", b"true", b"{}", b"[]", b'"x"', b"[[1],[2,3]]",
    b"", b"\xff\xfe", "²".encode(), "٣".encode(), b"\\u0000",
)  # fmt: skip
_BYTES = (
    np.array([np.nan, np.inf, -np.inf, 3e38], "<f4").tobytes(),
    np.array([np.nan, 1e300], "<f8").tobytes(),
    b"\x00\x00\x00", b"\x10", b"\x16", b"\r", b"\n", b"\t", b"\x1a", b"\xff\xff\xff\xff", b"\x0c",
    b"\xef\xbb\xbf", b" ", b"/", b"..", b"}", b"{", b"]", b"[", b'"',
)  # fmt: skip
_HEADER = 400


def flip_bits(content: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    for place in rng.integers(0, len(content), rng.integers(1, 9)) if content else ():
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def truncate(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(0, len(content) + 1))]


def insert_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(0, len(content) + 1))
    return content[:place] + _BYTES[int(rng.integers(len(_BYTES)))] + content[place:]


def overwrite_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    new = _BYTES[int(rng.integers(len(_BYTES)))]
    place = int(rng.integers(0, len(content) + 1))
    return content[:place] + new + content[place + len(new) :]


def delete_lines(content: bytes, rng: np.random.Generator) -> bytes:
    lines = content.split(b"\n")
    first = int(rng.integers(len(lines)))
    return b"\n".join(lines[:first] + lines[first + int(rng.integers(1, 4)) :])


def swap_lines(content: bytes, rng: np.random.Generator) -> bytes:
    lines = content.split(b"\n")
    a, b = rng.integers(0, len(lines), 2)
    lines[a], lines[b] = lines[b], lines[a]
    return b"\n".join(lines)


def duplicate_block(content: bytes, rng: np.random.Generator) -> bytes:
    first, last = sorted(rng.integers(0, len(content) + 1, 2))
    return content[:last] + content[first:last] + content[last:]


def delete_block(content: bytes, rng: np.random.Generator) -> bytes:
    first, last = sorted(rng.integers(0, len(content) + 1, 2))
    return content[:first] + content[last:]


def swap_header_words(content: bytes, rng: np.random.Generator) -> bytes:
    parts = re.split(rb"(\s+)", content[:_HEADER])
    words = np.arange(0, len(parts), 2)
    a, b = rng.choice(words, 2)
    parts[a], parts[b] = parts[b], parts[a]
    return b"".join(parts) + content[_HEADER:]


def replace_number(content: bytes, rng: np.random.Generator) -> bytes:
    """A number, of the header in half of the cases, becomes something else."""
    end = _HEADER if rng.random() < 0.5 else len(content)
    found = list(re.finditer(rb"-?\d+(\.\d+)?", content[:end]))
    if not found:
        return insert_bytes(content, rng)
    start, stop = found[int(rng.integers(len(found)))].span()
    return content[:start] + _TOKENS[int(rng.integers(len(_TOKENS)))] + content[stop:]


def random_content(content: bytes, rng: np.random.Generator) -> bytes:
    """Other bytes behind the first few."""
    kept = int(rng.integers(0, 16))
    return content[:kept] + rng.bytes(int(rng.integers(0, 300)))


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    flip_bits,
    truncate,
    insert_bytes,
    overwrite_bytes,
    delete_lines,
    swap_lines,
    duplicate_block,
    delete_block,
    swap_header_words,
    replace_number,
    replace_number,
    random_content,
)


def mutate(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Damage once or twice; returns the content and what was done."""
    names = []
    for _ in range(int(rng.integers(1, 3))):
        mutation = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
        content = mutation(content, rng)
        names.append(mutation.__name__)
    return content, " and ".join(names)
