# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=False
"""Python face of the kernels; ``nwa_lightning.alignment`` and ``functional`` check everything before they call."""

import os

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t


cdef extern from "nw_fill.h" nogil:
    ctypedef struct nw_batch:
        const uint8_t *codes
        const int64_t *lengths
        const int64_t *pairs
        int16_t *out
        Py_ssize_t width
        Py_ssize_t count
        int32_t match
        int32_t mismatch
        int32_t gap
        int through

    int nw_fill(const nw_batch *batch)
    const char *nw_instruction_set(int index)
    void nw_use(int index)


cdef extern from "row_jsd.h" nogil:
    ctypedef struct jsd_batch:
        const float *logits
        const int16_t *scores
        const uint8_t *row_mask
        const uint8_t *column_mask
        float *divergence
        float *gradient
        Py_ssize_t count
        Py_ssize_t rows
        Py_ssize_t columns
        float temperature

    int c_row_jsd "row_jsd"(const jsd_batch *batch)
    void row_jsd_use(int index)


def _runnable():
    cdef int index = 0
    names = []
    while nw_instruction_set(index) != NULL:
        names.append(nw_instruction_set(index).decode("ascii"))
        index += 1
    return tuple(names)


def _choose():
    """The instruction set that the environment asks for, else the fastest."""
    name = os.environ.get("NWA_LIGHTNING_ISA") or instruction_sets[len(instruction_sets) - 1]
    if name not in instruction_sets:
        raise ImportError(
            f"NWA_LIGHTNING_ISA: expected one of {', '.join(instruction_sets)} on this machine, found {name!r}; "
            "unset it to use the fastest"
        )
    nw_use(instruction_sets.index(name))
    row_jsd_use(instruction_sets.index(name))
    return name


instruction_sets = _runnable()
instruction_set = _choose()


def fill(
    const uint8_t[:, ::1] codes,
    const int64_t[::1] lengths,
    const int64_t[:, ::1] pairs,
    int16_t[:, :, ::1] out,
    int32_t match,
    int32_t mismatch,
    int32_t gap,
    bint through,
):
    """Write the matrix of each pair to ``out`` without the interpreter lock. Nothing is checked here."""
    cdef nw_batch batch
    cdef int status
    if pairs.shape[0] == 0:
        return
    batch.codes = &codes[0, 0]
    batch.lengths = &lengths[0]
    batch.pairs = &pairs[0, 0]
    batch.out = &out[0, 0, 0]
    batch.width = codes.shape[1]
    batch.count = pairs.shape[0]
    batch.match = match
    batch.mismatch = mismatch
    batch.gap = gap
    batch.through = through
    with nogil:
        status = nw_fill(&batch)
    if status != 0:
        raise MemoryError("no memory for the working rows of the Needleman-Wunsch kernel")


def row_jsd(
    const float[:, :, ::1] logits,
    const int16_t[:, :, ::1] scores,
    const uint8_t[:, ::1] row_mask,
    const uint8_t[:, ::1] column_mask,
    float temperature,
    float[::1] divergence,
    float[:, :, ::1] gradient,
):
    """Write the divergence of each pair and, unless it is None, the gradient, without the interpreter lock."""
    cdef jsd_batch batch
    cdef int status
    if logits.shape[0] == 0 or logits.shape[1] == 0 or logits.shape[2] == 0:
        divergence[:] = 0
        return
    batch.logits = &logits[0, 0, 0]
    batch.scores = &scores[0, 0, 0]
    batch.row_mask = NULL if row_mask is None else &row_mask[0, 0]
    batch.column_mask = NULL if column_mask is None else &column_mask[0, 0]
    batch.divergence = &divergence[0]
    batch.gradient = NULL if gradient is None else &gradient[0, 0, 0]
    batch.count = logits.shape[0]
    batch.rows = logits.shape[1]
    batch.columns = logits.shape[2]
    batch.temperature = temperature
    with nogil:
        status = c_row_jsd(&batch)
    if status != 0:
        raise MemoryError("no memory for the working row of the divergence kernel")
