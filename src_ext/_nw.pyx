# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=False
"""Python face of the kernels; ``nwa_lightning.alignment`` and ``functional`` check everything before they call."""

import os

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint64_t


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


cdef extern from "nw_scan.h" nogil:
    ctypedef struct scan_batch:
        const uint8_t *flat
        const int64_t *starts
        const int64_t *lengths
        const int64_t *pairs
        const uint8_t *ranks
        const int32_t *table
        int32_t *out
        Py_ssize_t letters
        Py_ssize_t longest
        Py_ssize_t count
        Py_ssize_t stride
        Py_ssize_t side
        int32_t gap_open
        int32_t gap_extend
        int through

    int c_nw_scan "nw_scan"(const scan_batch *batch)
    void scan_use(int index)


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


cdef extern from "soft_align.h" nogil:
    ctypedef struct soft_batch:
        const uint8_t *codes
        const int32_t *lengths
        const float *weights
        const float *gaps
        int32_t *starts
        int32_t *ends
        float *scores
        const float *score_gradient
        float *weight_gradient
        float *gap_gradient
        Py_ssize_t reads
        Py_ssize_t width
        Py_ssize_t templates
        Py_ssize_t letters
        Py_ssize_t positions
        float gamma

    int c_soft_slices "soft_slices"(const soft_batch *batch)
    int c_soft_scores "soft_scores"(const soft_batch *batch)
    int c_soft_gradients "soft_gradients"(const soft_batch *batch)
    void soft_use(int index)


cdef extern from "edit_band.h" nogil:
    ctypedef struct edit_set:
        const uint64_t *words
        const uint8_t *codes
        const int64_t *places
        const int64_t *lengths
        Py_ssize_t longest
        int planes

    ctypedef struct edit_letters:
        const uint8_t *flat
        const int64_t *starts
        const int64_t *lengths
        const int64_t *places
        const uint8_t *letters
        uint64_t *words
        uint8_t *codes
        Py_ssize_t count
        int letter_count
        int planes

    ctypedef struct edit_listed:
        edit_set set
        const int64_t *pairs
        int32_t *out
        Py_ssize_t count
        int32_t cutoff

    ctypedef struct edit_block:
        edit_set set
        const int64_t *rows
        const int64_t *columns
        const int64_t *row_to
        const int64_t *column_to
        int32_t *out
        Py_ssize_t row_count
        Py_ssize_t column_count
        Py_ssize_t stride
        Py_ssize_t triangle
        int32_t cutoff

    void c_edit_seen "edit_seen"(
        const uint8_t *flat, const int64_t *starts, const int64_t *lengths, Py_ssize_t count, uint8_t *seen
    )
    void c_edit_pack "edit_pack"(const edit_letters *letters)
    int c_edit_pairs "edit_pairs"(const edit_listed *listed)
    int c_edit_rows "edit_rows"(const edit_block *block)
    void edit_use(int index)
    int c_edit_lanes "edit_lanes"()


cdef extern from "kmer_index.h" nogil:
    ctypedef struct kmer_reads:
        const uint8_t *flat
        const int64_t *starts
        const int64_t *lengths
        Py_ssize_t count
        int k
        int shift
        Py_ssize_t bins

    ctypedef struct kmer_search:
        kmer_reads queries
        const int64_t *ends
        const int32_t *targets
        Py_ssize_t target_count
        Py_ssize_t most
        int32_t *found
        int32_t *left

    int c_kmer_fill "kmer_fill"(const kmer_reads *reads, int64_t *places, int32_t *targets)
    int c_kmer_nearest "kmer_nearest"(const kmer_search *search)
    const int KMER_MOST


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
    scan_use(instruction_sets.index(name))
    row_jsd_use(instruction_sets.index(name))
    edit_use(instruction_sets.index(name))
    soft_use(instruction_sets.index(name))
    return name


instruction_sets = _runnable()
instruction_set = _choose()
edit_lanes = c_edit_lanes()
kmer_most = KMER_MOST


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


def scan(
    const uint8_t[::1] flat,
    const int64_t[::1] starts,
    const int64_t[::1] lengths,
    const int64_t[:, ::1] pairs,
    const uint8_t[::1] ranks,
    const int32_t[:, ::1] table,
    int32_t[::1] out,
    Py_ssize_t longest,
    Py_ssize_t stride,
    Py_ssize_t side,
    int32_t gap_open,
    int32_t gap_extend,
    bint through,
):
    """Write the score of each pair, or with a stride its cells, without the interpreter lock. Nothing is checked here."""
    cdef scan_batch batch
    cdef int status
    if pairs.shape[0] == 0:
        return
    batch.flat = &flat[0] if flat.shape[0] else NULL
    batch.starts = &starts[0]
    batch.lengths = &lengths[0]
    batch.pairs = &pairs[0, 0]
    batch.ranks = &ranks[0]
    batch.table = &table[0, 0] if table.shape[0] else NULL
    batch.out = &out[0]
    batch.letters = table.shape[0]
    batch.longest = longest
    batch.count = pairs.shape[0]
    batch.stride = stride
    batch.side = side
    batch.gap_open = gap_open
    batch.gap_extend = gap_extend
    batch.through = through
    with nogil:
        status = c_nw_scan(&batch)
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


def edit_seen(const uint8_t[::1] flat, const int64_t[::1] starts, const int64_t[::1] lengths, uint8_t[::1] seen):
    """Set ``seen[letter]`` for each letter of the sequences, without the interpreter lock."""
    if starts.shape[0] == 0 or flat.shape[0] == 0:
        return
    with nogil:
        c_edit_seen(&flat[0], &starts[0], &lengths[0], starts.shape[0], &seen[0])


def edit_pack(
    const uint8_t[::1] flat,
    const int64_t[::1] starts,
    const int64_t[::1] lengths,
    const uint8_t[::1] letters,
    const int64_t[::1] places,
    uint64_t[:, ::1] words,
    uint8_t[::1] codes,
):
    """Write bit planes and codes of the sequences, without the interpreter lock."""
    cdef edit_letters packing
    if starts.shape[0] == 0 or words.shape[0] == 0:
        return
    packing.flat = &flat[0]
    packing.starts = &starts[0]
    packing.lengths = &lengths[0]
    packing.places = &places[0]
    packing.letters = &letters[0]
    packing.letter_count = <int>letters.shape[0]
    packing.words = &words[0, 0]
    packing.codes = &codes[0]
    packing.count = starts.shape[0]
    packing.planes = <int>words.shape[1]
    with nogil:
        c_edit_pack(&packing)


def edit_pairs(
    const uint64_t[:, ::1] words,
    const uint8_t[::1] codes,
    const int64_t[::1] places,
    const int64_t[::1] lengths,
    Py_ssize_t longest,
    const int64_t[:, ::1] pairs,
    int32_t cutoff,
    int32_t[::1] out,
):
    """Write the distance of each pair of packed sequences, without the interpreter lock. Nothing is checked here."""
    cdef edit_listed listed
    cdef int status
    if pairs.shape[0] == 0:
        return
    _fill_set(&listed.set, words, codes, places, lengths, longest)
    listed.pairs = &pairs[0, 0]
    listed.out = &out[0]
    listed.count = pairs.shape[0]
    listed.cutoff = cutoff
    with nogil:
        status = c_edit_pairs(&listed)
    if status != 0:
        raise MemoryError("no memory for the working words of the edit-distance kernel")


def edit_rows(
    const uint64_t[:, ::1] words,
    const uint8_t[::1] codes,
    const int64_t[::1] places,
    const int64_t[::1] lengths,
    Py_ssize_t longest,
    const int64_t[::1] rows,
    const int64_t[::1] columns,
    const int64_t[::1] row_to,
    const int64_t[::1] column_to,
    Py_ssize_t triangle,
    int32_t cutoff,
    int32_t[:, ::1] out,
):
    """Write the distances of all rows to all columns, or those of a triangle and its mirror, without the lock."""
    cdef edit_block block
    cdef int status
    if rows.shape[0] == 0 or columns.shape[0] == 0:
        return
    _fill_set(&block.set, words, codes, places, lengths, longest)
    block.rows = &rows[0]
    block.columns = &columns[0]
    block.row_to = &row_to[0]
    block.column_to = &column_to[0]
    block.out = &out[0, 0]
    block.row_count = rows.shape[0]
    block.column_count = columns.shape[0]
    block.stride = out.shape[1]
    block.triangle = triangle
    block.cutoff = cutoff
    with nogil:
        status = c_edit_rows(&block)
    if status != 0:
        raise MemoryError("no memory for the working words of the edit-distance kernel")


cdef void _fill_set(
    edit_set *packed,
    const uint64_t[:, ::1] words,
    const uint8_t[::1] codes,
    const int64_t[::1] places,
    const int64_t[::1] lengths,
    Py_ssize_t longest,
) noexcept:
    # Sequences without letters have no words, and nothing of them is read.
    packed.words = &words[0, 0] if words.shape[0] else NULL
    packed.codes = &codes[0] if codes.shape[0] else NULL
    packed.places = &places[0]
    packed.lengths = &lengths[0]
    packed.longest = longest
    packed.planes = <int>words.shape[1]


def soft_slices(
    const uint8_t[:, ::1] codes,
    const int32_t[::1] lengths,
    const float[:, :, ::1] weights,
    const float[::1] gaps,
    int32_t[:, ::1] starts,
    int32_t[:, ::1] ends,
):
    """Write the slice of each read that each template aligns best with, without the interpreter lock."""
    cdef soft_batch batch
    cdef int status
    if lengths.shape[0] == 0 or gaps.shape[0] == 0:
        return
    _fill_soft(&batch, codes, lengths, weights, gaps, starts, ends)
    with nogil:
        status = c_soft_slices(&batch)
    if status != 0:
        raise MemoryError("no memory for the working rows of the soft alignment kernel")


def soft_scores(
    const uint8_t[:, ::1] codes,
    const int32_t[::1] lengths,
    const float[:, :, ::1] weights,
    const float[::1] gaps,
    int32_t[:, ::1] starts,
    int32_t[:, ::1] ends,
    float gamma,
    float[:, ::1] scores,
):
    """Write the score of each slice, or of whole reads where ``starts`` is None, without the interpreter lock."""
    cdef soft_batch batch
    cdef int status
    if lengths.shape[0] == 0 or gaps.shape[0] == 0:
        return
    _fill_soft(&batch, codes, lengths, weights, gaps, starts, ends)
    batch.gamma = gamma
    batch.scores = &scores[0, 0]
    with nogil:
        status = c_soft_scores(&batch)
    if status != 0:
        raise MemoryError("no memory for the working rows of the soft alignment kernel")


def soft_gradients(
    const uint8_t[:, ::1] codes,
    const int32_t[::1] lengths,
    const float[:, :, ::1] weights,
    const float[::1] gaps,
    int32_t[:, ::1] starts,
    int32_t[:, ::1] ends,
    float gamma,
    const float[:, ::1] score_gradient,
    float[:, :, ::1] weight_gradient,
    float[::1] gap_gradient,
):
    """Write the gradients of what ``soft_scores`` writes, times ``score_gradient``, without the interpreter lock."""
    cdef soft_batch batch
    cdef int status
    if lengths.shape[0] == 0 or gaps.shape[0] == 0:
        weight_gradient[:] = 0
        gap_gradient[:] = 0
        return
    _fill_soft(&batch, codes, lengths, weights, gaps, starts, ends)
    batch.gamma = gamma
    batch.score_gradient = &score_gradient[0, 0]
    batch.weight_gradient = &weight_gradient[0, 0, 0]
    batch.gap_gradient = &gap_gradient[0]
    with nogil:
        status = c_soft_gradients(&batch)
    if status != 0:
        raise MemoryError("no memory for the working rows of the soft alignment kernel")


cdef void _fill_soft(
    soft_batch *batch,
    const uint8_t[:, ::1] codes,
    const int32_t[::1] lengths,
    const float[:, :, ::1] weights,
    const float[::1] gaps,
    int32_t[:, ::1] starts,
    int32_t[:, ::1] ends,
) noexcept:
    batch.codes = &codes[0, 0] if codes.shape[1] else NULL
    batch.lengths = &lengths[0]
    batch.weights = &weights[0, 0, 0]
    batch.gaps = &gaps[0]
    batch.starts = NULL if starts is None else &starts[0, 0]
    batch.ends = NULL if ends is None else &ends[0, 0]
    batch.reads = lengths.shape[0]
    batch.width = codes.shape[1]
    batch.templates = gaps.shape[0]
    batch.letters = weights.shape[1]
    batch.positions = weights.shape[2]


def kmer_fill(
    const uint8_t[::1] flat,
    const int64_t[::1] starts,
    const int64_t[::1] lengths,
    int k,
    int shift,
    Py_ssize_t bins,
    int64_t[::1] places,
    int32_t[::1] targets,
):
    """Write the number of each sequence at ``places[r]``, which grows, for every row r in which it is, without the lock.

    Without targets, add 1 to ``places[r + 1]``.
    """
    cdef kmer_reads reads
    cdef int32_t *to = NULL
    cdef int status
    if starts.shape[0] == 0 or (targets is not None and targets.shape[0] == 0):
        return
    if targets is not None:
        to = &targets[0]
    _fill_kmers(&reads, flat, starts, lengths, k, shift, bins)
    with nogil:
        status = c_kmer_fill(&reads, &places[0], to)
    if status != 0:
        raise MemoryError("no memory for a table of all k-mers")


def kmer_nearest(
    const uint8_t[::1] flat,
    const int64_t[::1] starts,
    const int64_t[::1] lengths,
    int k,
    int shift,
    Py_ssize_t bins,
    const int64_t[::1] ends,
    const int32_t[::1] targets,
    Py_ssize_t target_count,
    int32_t[:, ::1] found,
    int32_t[::1] left,
):
    """Write the targets that share the most k-mers with each query, and the most that any other shares, without the lock."""
    cdef kmer_search search
    cdef int status
    if starts.shape[0] == 0:
        return
    _fill_kmers(&search.queries, flat, starts, lengths, k, shift, bins)
    search.ends = &ends[0]
    search.targets = &targets[0] if targets.shape[0] else NULL
    search.target_count = target_count
    search.most = found.shape[1]
    search.found = &found[0, 0]
    search.left = &left[0]
    with nogil:
        status = c_kmer_nearest(&search)
    if status != 0:
        raise MemoryError("no memory for the counters of shared k-mers")


cdef void _fill_kmers(
    kmer_reads *reads,
    const uint8_t[::1] flat,
    const int64_t[::1] starts,
    const int64_t[::1] lengths,
    int k,
    int shift,
    Py_ssize_t bins,
) noexcept:
    reads.flat = &flat[0] if flat.shape[0] else NULL
    reads.starts = &starts[0]
    reads.lengths = &lengths[0]
    reads.count = starts.shape[0]
    reads.k = k
    reads.shift = shift
    reads.bins = bins
