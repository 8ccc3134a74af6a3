/* Needleman-Wunsch scores of any substitution matrix, with linear or affine gaps, in memory that grows with the length only.
 *
 * With e the score of a further letter of a gap and o <= 0 what the first one adds to it, the recurrence of Gotoh (1982, doi
 * 10.1016/0022-2836(82)90398-9) becomes, with u[i,j] = M[i,j] - (i + j) * e,
 *
 *     down[i,j]   = max(u[k,j] for k < i) + o
 *     taken[i,j]  = max(u[i-1,j-1] + sub(i,j) - 2 * e, down[i,j])
 *     u[i,j]      = max(taken[i,j], max(taken[i,k] for k < j) + o)
 *
 * So both gaps are running maxima: down a column, one value per column is kept; along a row, the maximum of taken replaces that
 * of u because a gap that follows a gap in the same sequence is a longer gap. For linear gaps, o = 0, and u[i,j] is the running
 * maximum itself. u is 0 in the first cell and o on both borders.
 *
 * Layout: a pair is done by itself, row by row. The columns of a row are cut into as many runs as a register has lanes, and
 * lane k follows run k (Farrar, 2007, doi 10.1093/bioinformatics/btl582). So the running maximum along a row costs one maximum
 * per register. What comes from the runs to the left is known at the end of the row only: a prefix maximum over the lanes
 * (Khajeh-Saeed, Poole & Perot, 2010, doi 10.1016/j.jcp.2010.02.009; Daily, 2016, doi 10.1186/s12859-016-0930-z). It is added
 * when the next row reads the row, not in a second pass. The number of steps does not depend on the sequences.
 *
 * For each letter, the scores beside all columns are computed once (the profile), and kept while the second sequence stays the
 * same. A register has 4 lanes of int32 (SSE2, NEON, any other) or 8 (AVX2); nw_scan_lanes.h is compiled once for each, and for 1
 * lane where the compiler has no vector extensions. 16 lanes (AVX-512) were measured on Zen 4: as fast at 1,500 letters, slower
 * below, because a row has fewer steps to hide the prefix maximum behind. Columns past the end of a sequence score 0; they follow
 * all others, so nothing depends on them.
 *
 * "through" makes a second pass over both sequences read backwards, as in nw_fill.c. */

#include "nw_scan.h"

#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__) && defined(__x86_64__)
#define SCAN_X86 1
#include <immintrin.h>
#elif defined(__GNUC__) && defined(__ARM_NEON)
#include <arm_neon.h>
#endif

/* What a pass over the cells writes: the last score, scores of prefixes, or, of both passes of "through", u with the gaps of
 * the whole sequences, and u added to that. */
enum { SCAN_SCORE, SCAN_PREFIXES, SCAN_LEVELLED, SCAN_ADD_SUFFIXES };

/* One pair; step is -1 where it is read backwards. */
typedef struct {
    const uint8_t *first;
    const uint8_t *second;
    ptrdiff_t rows;
    ptrdiff_t columns;
    ptrdiff_t step;
} scan_pair;

static scan_pair pair_at(const scan_batch *batch, ptrdiff_t index, int backwards) {
    const ptrdiff_t first = (ptrdiff_t)batch->pairs[2 * index], second = (ptrdiff_t)batch->pairs[2 * index + 1];
    scan_pair pair;
    pair.first = batch->flat + batch->starts[first];
    pair.second = batch->flat + batch->starts[second];
    pair.rows = (ptrdiff_t)batch->lengths[first];
    pair.columns = (ptrdiff_t)batch->lengths[second];
    pair.step = backwards ? -1 : 1;
    if (backwards && pair.rows) pair.first += pair.rows - 1;
    if (backwards && pair.columns) pair.second += pair.columns - 1;
    return pair;
}

/* a + b that may wrap on the way to a sum that fits. */
static int32_t sum_of(int32_t a, int64_t b) { return (int32_t)((uint32_t)a + (uint32_t)b); }

/* Of the loop along a row, which has ten instructions: 1,500 letters take two thirds of the time. */
#ifdef __clang__
#define SCAN_UNROLL _Pragma("unroll 4")
#elif defined(__GNUC__)
#define SCAN_UNROLL _Pragma("GCC unroll 4")
#else
#define SCAN_UNROLL
#endif

#ifdef __GNUC__

#define LANES 4
#define NAME(name) name##_4
#include "nw_scan_lanes.h"

#ifdef SCAN_X86
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define LANES 8
#define NAME(name) name##_8
#include "nw_scan_lanes.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif /* SCAN_X86 */

#endif /* __GNUC__ */

#define LANES 1
#define NAME(name) name##_1
#include "nw_scan_lanes.h"

static int in_use = 0;

void scan_use(int index) { in_use = index; }

int nw_scan(const scan_batch *batch) {
#ifdef __GNUC__
#ifdef SCAN_X86
    if (in_use > 1) return nw_scan_8(batch);
#endif
    if (in_use > 0) return nw_scan_4(batch);
#endif
    return nw_scan_1(batch);
}
