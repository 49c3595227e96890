"""LZF, the compression of binary_compressed pcd files (Marc Lehmann's LibLZF)."""

from __future__ import annotations

_LITERALS = 32


def decompress(content: bytes, num_bytes: int) -> bytes:
    """Undo LZF.

    A byte below 32 announces one more literals than it says. Any other holds a length less 2 in its
    upper three bits (7: the next byte is added) and, with the byte behind, a distance less 1: so
    many bytes are copied from so far back.

    Args:
        content: what was compressed.
        num_bytes: how many bytes it was.

    Raises:
        ValueError: not that many, or a distance that leads in front of the first byte.
        IndexError: the content ends within a copy.
    """
    out = bytearray()
    place, end = 0, len(content)
    while place < end:
        control = content[place]
        place += 1
        if control < _LITERALS:
            out += content[place : place + control + 1]
            place += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += content[place]
            place += 1
        length += 2
        start = len(out) - ((control & 31) << 8) - content[place] - 1
        place += 1
        if start < 0 or len(out) + length > num_bytes:
            break
        if start + length <= len(out):
            out += out[start : start + length]
        else:  # the copy repeats what it has just written
            block = out[start:]
            out += (block * (length // len(block) + 1))[:length]
    if len(out) != num_bytes or place < end:
        raise ValueError(f"expected {num_bytes} bytes of compressed points, got {len(out)}")
    return bytes(out)
