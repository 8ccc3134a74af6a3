/* Needleman-Wunsch matrices of many pairs: plain C, and one vector kernel compiled for several instruction sets.
 *
 * M[i,j] = max(M[i-1,j-1] + sub(i,j), M[i-1,j] + gap, M[i,j-1] + gap) becomes, with u[i,j] = M[i,j] - (i+j) * gap,
 *
 *     u[i,j] = max(u[i-1,j-1] + s(i,j), u[i-1,j], u[i,j-1]),   s = max(sub - 2 * gap, 0),   u = 0 on both borders.
 *
 * Nothing is lost by the 0 in s: u grows along rows and columns, so a smaller s never wins. What is gained: along a row
 * u is a running maximum, which a register of lanes finds in log2(lanes) steps, and as u >= 0 the zeros that a shift
 * brings in are neutral.
 *
 * Layout: a lane is a cell of one row, int16, lane 0 of the first block of lanes is column 0. The blocks of a row depend
 * on one another only through the running maximum, and on the row above only through the block above and its left
 * neighbour, so an out-of-order processor works on several blocks and rows at once, and the matrix is written in the
 * order in which it lies in memory. One pair at a time: no lane is lost to pairs of other lengths or to small batches.
 * A register has 8 lanes (SSE2, NEON, any other), 16 (AVX2) or 32 (AVX-512BW); nw_fill_vector.h is compiled once for each.
 *
 * u needs more room than M: up to min(n1, n2) * s. Where that is beyond int16 (at scores +1/-1/-1 from 10,923 bases on),
 * and where the compiler has no vector extensions, fill_plain does it, in 32 bits and a double loop.
 */
#include "nw_fill.h"

#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
#define NW_X86 1
#include <immintrin.h>
#elif defined(__GNUC__) && defined(__ARM_NEON)
#include <arm_neon.h>
#endif

static int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }

/* One pair as the kernels see it: out is the pair's own (width + 1, width + 1) matrix. */
typedef struct {
    const uint8_t *first;
    const uint8_t *second;
    ptrdiff_t rows;    /* bases of first */
    ptrdiff_t columns; /* bases of second */
    ptrdiff_t stride;  /* width + 1 */
    int16_t *out;
} nw_pair;

static nw_pair pair_at(const nw_batch *batch, ptrdiff_t index) {
    const ptrdiff_t first = (ptrdiff_t)batch->pairs[2 * index], second = (ptrdiff_t)batch->pairs[2 * index + 1];
    nw_pair pair;
    pair.first = batch->codes + first * batch->width;
    pair.second = batch->codes + second * batch->width;
    pair.rows = (ptrdiff_t)batch->lengths[first];
    pair.columns = (ptrdiff_t)batch->lengths[second];
    pair.stride = batch->width + 1;
    pair.out = batch->out + index * pair.stride * pair.stride;
    return pair;
}

/* Zeros below the pair's own block; those to the right of it are written with each row. */
static void clear_below(const nw_pair *pair) {
    int16_t *below = pair->out + (pair->rows + 1) * pair->stride;
    memset(below, 0, (size_t)(pair->stride - pair->rows - 1) * (size_t)pair->stride * sizeof *below);
}

static void plain_prefix(const nw_batch *batch, const nw_pair *pair) {
    const int32_t gap = batch->gap;
    for (ptrdiff_t i = 0; i <= pair->rows; i++) {
        int16_t *row = pair->out + i * pair->stride;
        const int16_t *above = row - pair->stride;
        int32_t left = (int32_t)i * gap;
        row[0] = (int16_t)left;
        for (ptrdiff_t j = 1; j <= pair->columns; j++) {
            left += gap;
            if (i > 0) {
                const int same = pair->first[i - 1] == pair->second[j - 1];
                left = larger(left, larger(above[j] + gap, above[j - 1] + (same ? batch->match : batch->mismatch)));
            }
            row[j] = (int16_t)left;
        }
        memset(row + pair->columns + 1, 0, (size_t)(pair->stride - pair->columns - 1) * sizeof *row);
    }
    clear_below(pair);
}

/* Adds the matrix of the suffixes, from the last row up; below[j] holds it for the row below. */
static void plain_add_suffix(const nw_batch *batch, const nw_pair *pair, int16_t *below) {
    const int32_t gap = batch->gap;
    for (ptrdiff_t i = pair->rows; i >= 0; i--) {
        int16_t *row = pair->out + i * pair->stride;
        int32_t right = (int32_t)(pair->rows - i) * gap, below_right = below[pair->columns];
        below[pair->columns] = (int16_t)right;
        row[pair->columns] = (int16_t)(row[pair->columns] + right);
        for (ptrdiff_t j = pair->columns - 1; j >= 0; j--) {
            right += gap;
            if (i < pair->rows) {
                const int same = pair->first[i] == pair->second[j];
                right = larger(right, larger(below[j] + gap, below_right + (same ? batch->match : batch->mismatch)));
            }
            below_right = below[j];
            below[j] = (int16_t)right;
            row[j] = (int16_t)(row[j] + right);
        }
    }
}

static int fill_plain(const nw_batch *batch) {
    int16_t *below = NULL;
    if (batch->through) {
        below = calloc((size_t)batch->width + 1, sizeof *below);
        if (below == NULL) return -1;
    }
    for (ptrdiff_t index = 0; index < batch->count; index++) {
        const nw_pair pair = pair_at(batch, index);
        plain_prefix(batch, &pair);
        if (batch->through) plain_add_suffix(batch, &pair, below);
    }
    free(below);
    return 0;
}

#ifdef __GNUC__

#define NW_LANES 8
#define NW_NAME(name) name##_baseline
#include "nw_fill_vector.h"

#ifdef NW_X86
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define NW_LANES 16
#define NW_NAME(name) name##_avx2
#include "nw_fill_vector.h"
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw")
#endif
#define NW_LANES 32
#define NW_NAME(name) name##_avx512
#include "nw_fill_vector.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif /* NW_X86 */

#endif /* __GNUC__ */

typedef struct {
    const char *name;
    int (*fill)(const nw_batch *);
} instruction_set;

static const instruction_set instruction_sets[] = {
    {"plain", fill_plain},
#ifdef __GNUC__
    {"baseline", fill_baseline},
#ifdef NW_X86
    {"avx2", fill_avx2},
    {"avx512", fill_avx512},
#endif
#endif
};

/* Each set needs all those before it, so what a processor can run is a beginning of the list. */
static int runnable(void) {
    int count = (int)(sizeof instruction_sets / sizeof *instruction_sets);
#ifdef NW_X86
    __builtin_cpu_init();
    if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"))) count = 3;
    if (!__builtin_cpu_supports("avx2")) count = 2;
#endif
    return count;
}

static int in_use = 0;

const char *nw_instruction_set(int index) { return index < runnable() ? instruction_sets[index].name : NULL; }

void nw_use(int index) { in_use = index; }

int nw_fill(const nw_batch *batch) {
    const int64_t most = (int64_t)larger(larger(batch->match, batch->mismatch) - 2 * batch->gap, 0) * batch->width;
    return most <= INT16_MAX ? instruction_sets[in_use].fill(batch) : fill_plain(batch);
}
