"""Where the spectra of the problems that are being worked on lie: one place for each, in arrays of one shape.

On accelerators the arrays are on the device, and a problem's spectrum is sent there once. On a CPU they are in the
host's memory, which compiled functions read in place.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from slamjax._util.batching import fill_up
from slamjax._util.freed_memory import keep_freed_memory
from slamjax._util.jit import compiled
from slamjax._util.together import cores
from slamjax.fitting.starts import BLOCK

#: Batches of accelerators are full, an eighth, or a sixty-fourth: the tail of slow stars does not pay for empty places.
_SHRINK = 8
#: A batch that would have many empty places is divided into at most so many of the next smaller size.
_PIECES = 4
#: Bytes to whose multiples an array must be aligned to be read in place.
_ALIGNED = 64


class Window:
    """At most ``slots`` problems' spectra, and the shapes of the batches they are worked on in.

    Attributes
    ----------
    slots : places
    stars : pytree of arrays of so many rows
    free : places that hold no problem
    block : problems that a batch works on at once, one such block after the other; 0: all
    sizes : of batches, largest first
    """

    def __init__(self, like: Any, slots: int) -> None:
        devices = len(jax.local_devices())
        self.block = BLOCK if jax.default_backend() == "cpu" and devices == 1 else 0
        if self.block:
            keep_freed_memory()
            self.n_together = cores()
            self.sizes = [self._in_blocks(-(-slots // self.n_together))]
            self.slots = self.n_together * self.sizes[0]
            self.stars = jax.tree_util.tree_map(lambda a: aligned_zeros((self.slots, *a.shape[1:]), a.dtype), like)
        else:
            sizes = {max(1, slots // _SHRINK**k) for k in range(3)}
            self.sizes = sorted({-(-size // devices) * devices for size in sizes}, reverse=True)
            self.slots, self.n_together = self.sizes[0], 1
            self.stars = everywhere(
                jax.tree_util.tree_map(lambda a: np.zeros((self.slots, *a.shape[1:]), a.dtype), like)
            )
        self.free = np.arange(self.slots)

    def _in_blocks(self, count: int) -> int:
        return -(-count // self.block) * self.block

    def enter(self, stars: Any) -> np.ndarray:
        """Places for spectra, of which there are no more than `free` places."""
        n = len(jax.tree_util.tree_leaves(stars)[0])
        places, self.free = self.free[:n], self.free[n:]
        if self.block:
            for into, values in zip(*map(jax.tree_util.tree_leaves, (self.stars, stars)), strict=True):
                into[places] = values
        else:
            for rows, size in self.split(n):
                filled = fill_up(rows, size)
                values = jax.tree_util.tree_map(lambda a, filled=filled: a[filled], stars)
                self.stars = _put(self.stars, everywhere(values), places[filled])
        return places

    def leave(self, places: np.ndarray) -> None:
        """These hold no problem any more."""
        self.free = np.concatenate([self.free, places])

    def split(self, count: int) -> list[tuple[np.ndarray, int]]:
        """Which of ``count`` problems go into a batch together, and its size: few empty places, and few batches.

        On a CPU as many batches as it has cores.
        """
        batches, begin = [], 0
        if self.block:
            step = min(self.sizes[0], self._in_blocks(-(-count // self.n_together)))
            return [(np.arange(k, min(count, k + step)), self.sizes[0]) for k in range(0, count, step)]
        while begin < count:
            left = count - begin
            size = min((s for s in self.sizes if s >= left), default=self.sizes[0])
            size = max((s for s in self.sizes if s < size and -(-left // s) <= _PIECES), default=size)
            batches.append((np.arange(begin, min(count, begin + size)), size))
            begin += size
        return batches

    def spread(self, batch: Any) -> Any:
        """A batch on the devices, divided along its problems where there are several; on a CPU as it is."""
        if self.block:
            return batch
        devices = jax.local_devices()
        if len(devices) == 1:
            return jax.tree_util.tree_map(jnp.asarray, batch)
        sharding = NamedSharding(Mesh(np.array(devices), ("star",)), PartitionSpec("star"))
        return jax.tree_util.tree_map(lambda a: jax.device_put(a, sharding), batch)


def everywhere(arrays: Any) -> Any:
    """Put arrays on every device whole: a problem may be worked on by any of them."""
    devices = jax.local_devices()
    if len(devices) == 1:
        return jax.tree_util.tree_map(jnp.asarray, arrays)
    return jax.device_put(arrays, NamedSharding(Mesh(np.array(devices), ("star",)), PartitionSpec()))


def aligned_zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros that compiled functions on a CPU read in place: others are copied."""
    n = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(n + _ALIGNED, np.uint8)
    start = -raw.ctypes.data % _ALIGNED
    return raw[start : start + n].view(dtype).reshape(shape)


@compiled
def _put(stars: Any, values: Any, places: Any) -> Any:
    return jax.tree_util.tree_map(lambda a, b: a.at[places].set(b), stars, values)
