"""Identify sequences regardless of order and names: hashes of their bases, and a fingerprint of a set."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.sequences.packed import Packed

#: Hashes that a fingerprint keeps: enough to tell a file with added reads from another file.
SKETCH_SIZE: Final = 256


def content_hashes(strings: Packed) -> NDArray[np.uint64]:
    """``(N,)`` 64-bit hashes of byte strings (BLAKE2b); among five million, the chance that any two collide is 1e-6."""
    found = np.empty(len(strings), dtype=np.uint64)
    for row, string in enumerate(strings):
        found[row] = int.from_bytes(blake2b(string, digest_size=8).digest(), "little")
    return found


def seeded(hashes: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Different hashes for every seed; each depends only on one hash and the seed (SplitMix64; Steele et al., 2014)."""
    start = int.from_bytes(blake2b(str(seed).encode(), digest_size=8).digest(), "little")
    mixed = hashes ^ np.uint64(start)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def fingerprint(hashes: NDArray[np.uint64]) -> dict[str, Any]:
    """The identity of a set of sequences, as plain values.

    Args:
        hashes: Hashes of the sequences, in any order, duplicates included.

    Returns:
        ``count``, the number of distinct sequences; ``hash``, one hash of all of them in hexadecimal; ``sketch``, the smallest
        hashes, from which ``still_there`` finds whether the sequences are still there (a bottom-k sketch; Broder, 1997).
    """
    distinct = np.unique(hashes)
    whole = blake2b(distinct.astype("<u8").tobytes(), digest_size=16).hexdigest()
    # As text: a checkpoint holds signed integers.
    sketch = [f"{number:016x}" for number in distinct[:SKETCH_SIZE].tolist()]
    return {"count": len(distinct), "hash": whole, "sketch": sketch}


def still_there(known: dict[str, Any], hashes: NDArray[np.uint64]) -> float:
    """The fraction of a fingerprint's sketch that is among the sequences: 1 if sequences were only added."""
    sketch = np.array([int(number, 16) for number in known["sketch"]], dtype=np.uint64)
    return float(np.isin(sketch, hashes).mean()) if len(sketch) else 0.0
