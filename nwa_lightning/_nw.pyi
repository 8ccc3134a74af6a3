"""Types of the compiled kernels (``src_ext/_nw.pyx``)."""

import numpy as np
from numpy.typing import NDArray

instruction_sets: tuple[str, ...]
instruction_set: str
edit_lanes: int
kmer_most: int

def fill(
    codes: NDArray[np.uint8],
    lengths: NDArray[np.int64],
    pairs: NDArray[np.int64],
    out: NDArray[np.int16],
    match: int,
    mismatch: int,
    gap: int,
    through: bool,
) -> None: ...
def scan(
    flat: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    pairs: NDArray[np.int64],
    ranks: NDArray[np.uint8],
    table: NDArray[np.int32],
    out: NDArray[np.int32],
    longest: int,
    stride: int,
    side: int,
    gap_open: int,
    gap_extend: int,
    through: bool,
) -> None: ...
def row_jsd(
    logits: NDArray[np.float32],
    scores: NDArray[np.int16],
    row_mask: NDArray[np.uint8] | None,
    column_mask: NDArray[np.uint8] | None,
    temperature: float,
    divergence: NDArray[np.float32],
    gradient: NDArray[np.float32] | None,
) -> None: ...
def edit_seen(
    flat: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], seen: NDArray[np.uint8]
) -> None: ...
def edit_pack(
    flat: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    letters: NDArray[np.uint8],
    places: NDArray[np.int64],
    words: NDArray[np.uint64],
    codes: NDArray[np.uint8],
) -> None: ...
def edit_pairs(
    words: NDArray[np.uint64],
    codes: NDArray[np.uint8],
    places: NDArray[np.int64],
    lengths: NDArray[np.int64],
    longest: int,
    pairs: NDArray[np.int64],
    cutoff: int,
    out: NDArray[np.int32],
) -> None: ...
def edit_rows(
    words: NDArray[np.uint64],
    codes: NDArray[np.uint8],
    places: NDArray[np.int64],
    lengths: NDArray[np.int64],
    longest: int,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    row_to: NDArray[np.int64],
    column_to: NDArray[np.int64],
    triangle: int,
    cutoff: int,
    out: NDArray[np.int32],
) -> None: ...
def soft_slices(
    codes: NDArray[np.uint8],
    lengths: NDArray[np.int32],
    weights: NDArray[np.float32],
    gaps: NDArray[np.float32],
    starts: NDArray[np.int32],
    ends: NDArray[np.int32],
) -> None: ...
def soft_scores(
    codes: NDArray[np.uint8],
    lengths: NDArray[np.int32],
    weights: NDArray[np.float32],
    gaps: NDArray[np.float32],
    starts: NDArray[np.int32] | None,
    ends: NDArray[np.int32] | None,
    gamma: float,
    scores: NDArray[np.float32],
) -> None: ...
def soft_gradients(
    codes: NDArray[np.uint8],
    lengths: NDArray[np.int32],
    weights: NDArray[np.float32],
    gaps: NDArray[np.float32],
    starts: NDArray[np.int32] | None,
    ends: NDArray[np.int32] | None,
    gamma: float,
    score_gradient: NDArray[np.float32],
    weight_gradient: NDArray[np.float32],
    gap_gradient: NDArray[np.float32],
) -> None: ...
def kmer_fill(
    flat: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    k: int,
    shift: int,
    bins: int,
    places: NDArray[np.int64],
    targets: NDArray[np.int32] | None,
) -> None: ...
def kmer_nearest(
    flat: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    k: int,
    shift: int,
    bins: int,
    ends: NDArray[np.int64],
    targets: NDArray[np.int32],
    target_count: int,
    found: NDArray[np.int32],
    left: NDArray[np.int32],
) -> None: ...
