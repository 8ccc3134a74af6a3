"""Types of the compiled kernels (``src_ext/_nw.pyx``)."""

import numpy as np
from numpy.typing import NDArray

instruction_sets: tuple[str, ...]
instruction_set: str

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
def row_jsd(
    logits: NDArray[np.float32],
    scores: NDArray[np.int16],
    row_mask: NDArray[np.uint8] | None,
    column_mask: NDArray[np.uint8] | None,
    temperature: float,
    divergence: NDArray[np.float32],
    gradient: NDArray[np.float32] | None,
) -> None: ...
