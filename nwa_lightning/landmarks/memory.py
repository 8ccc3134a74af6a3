"""A memory of edit distances to landmarks: the same reads come again in every epoch."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: The most memory that the remembered distances may take, in bytes.
MOST_BYTES: Final = 256 << 20

#: Bases times landmarks from which on a read is remembered. To look a read up takes 1 to 6 microseconds, to keep it as long. For
#: this product, the kernel takes 35 microseconds with reads of 150 bases, 100 with reads of 500. For smaller ones, reads that
#: never come again, such as those of ``nwa embed``, would lose more than others gain.
WORTH: Final = 50_000

#: Bytes of an entry besides its distances: the headers of two ``bytes``, the digest, and its place in the dictionary.
_ENTRY_BYTES: Final = 250


class Memory:
    """Rows of int32 by the digest of what they were computed from; when it is full, the oldest ones are forgotten.

    Args:
        most_bytes: The most memory that the rows may take, in bytes.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._rows: OrderedDict[bytes, bytes] = OrderedDict()  # a dict is slow to find its oldest entry
        self._bytes = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def rows(
        self, keys: list[bytes], width: int, compute: Callable[[NDArray[np.int64]], NDArray[np.int32]]
    ) -> NDArray[np.int32]:
        """The rows of U keys.

        Args:
            keys: U digests, as ``digests`` makes them.
            width: K, numbers per row.
            compute: Returns the ``(M, K)`` rows of the ``(M,)`` places of keys that are not remembered.

        Returns:
            ``(U, K)``.
        """
        with self._lock:
            known = [self._rows.get(key) for key in keys]
        missing = np.array([place for place, row in enumerate(known) if row is None], dtype=np.int64)
        found = np.empty((len(keys), width), dtype=np.int32)
        if len(missing) < len(keys):
            remembered = np.ones(len(keys), dtype=bool)
            remembered[missing] = False
            joined = b"".join(row for row in known if row is not None)
            found[remembered] = np.frombuffer(joined, dtype=np.int32).reshape(-1, width)
        if len(missing):
            computed = compute(missing)
            found[missing] = computed
            self._keep((keys[place] for place in missing.tolist()), computed)
        return found

    def _keep(self, keys: Iterable[bytes], rows: NDArray[np.int32]) -> None:
        each = 4 * rows.shape[1] + _ENTRY_BYTES
        if each > self.most_bytes:
            return
        with self._lock:
            for key, row in zip(keys, rows, strict=True):
                if key in self._rows:
                    continue
                self._rows[key] = row.tobytes()
                self._bytes += each
                while self._bytes > self.most_bytes:
                    _, oldest = self._rows.popitem(last=False)
                    self._bytes -= len(oldest) + _ENTRY_BYTES


def digests(
    codes: NDArray[np.uint8], lengths: NDArray[np.int64], landmarks: NDArray[np.uint8], sizes: NDArray[np.int64]
) -> list[bytes]:
    """A digest of each sequence together with the landmarks: other landmarks, such as newly drawn ones, give other digests.

    Args:
        codes: ``(U, L)`` codes, then padding; contiguous.
        lengths: ``(U,)`` bases of each.
        landmarks: ``(K, n)`` codes, then padding.
        sizes: ``(K,)`` bases of each landmark.

    Returns:
        U digests of 128 bits by BLAKE2b (Aumasson et al., 2013, doi 10.1007/978-3-642-38980-1_8). Different reads have
        different ones: a collision of 128 bits is not to be expected.
    """
    start = hashlib.blake2b(np.array(landmarks.shape, dtype=np.int64).tobytes(), digest_size=16)
    start.update(np.ascontiguousarray(sizes).data)
    start.update(np.ascontiguousarray(landmarks).data)
    width, view, found = codes.shape[1], codes.reshape(-1).data, []
    for row, length in enumerate(lengths.tolist()):
        digest = start.copy()
        digest.update(view[row * width : row * width + length])
        found.append(digest.digest())
    return found
