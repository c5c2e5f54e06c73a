"""Random damage of files."""

from __future__ import annotations

import numpy as np


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """A damaged copy: bits flipped, bytes replaced, cut short, a piece zeroed, dropped, doubled or moved."""
    data, n = bytearray(content), len(content)
    kind = rng.integers(7)
    start, length = int(rng.integers(n)), int(rng.integers(1, max(2, min(n, 4096))))
    if kind == 0:
        for position in rng.integers(n, size=int(rng.integers(1, 9))):
            data[position] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        for position in rng.integers(n, size=int(rng.integers(1, 33))):
            data[position] = int(rng.integers(256))
    elif kind == 2:
        del data[start:]
    elif kind == 3:
        data[start : start + length] = bytes(len(data[start : start + length]))
    elif kind == 4:
        del data[start : start + length]
    elif kind == 5:
        data[start:start] = data[start : start + length]
    else:
        piece = bytes(data[start : start + length])
        goal = int(rng.integers(n))
        data[goal : goal + len(piece)] = piece
    return bytes(data)
