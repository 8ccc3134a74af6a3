/* Needleman-Wunsch matrices of many pairs: plain C, and one vector kernel compiled for two register widths.
 *
 * M[i,j] = max(M[i-1,j-1] + sub(i,j), M[i-1,j] + gap, M[i,j-1] + gap) becomes, with u[i,j] = M[i,j] - (i+j) * gap,
 *
 *     u[i,j] = max(u[i-1,j-1] + s(i,j), u[i-1,j], u[i,j-1]),   s = max(sub - 2 * gap, 0),   u = 0 on both borders.
 *
 * The 0 in s loses nothing: u grows along rows and columns, so a smaller s never wins. It has two advantages: the borders
 * are padding with s = 0 like any cell past the end of a sequence, and a cell costs two maxima and two additions.
 *
 * Layout: a lane is a pair, int16; 8 pairs (SSE2, NEON, any other) or 16 (AVX2) are done side by side, cell by cell along
 * a row, with no dependence between lanes. The cells of 8 or 16 columns are then transposed in registers, so that each
 * pair's lie side by side, and stored to that pair's matrix. A group takes as long as its longest sequences, and up to 8
 * pairs left over are done 8 wide. 32 lanes (AVX-512) were measured and gained nothing: the time goes into stores, and 32
 * matrices written at once are more streams than a processor follows. Non-temporal stores, of whole lines put together in
 * a window of 2 to 16 rows because rows are not aligned to lines, were measured too: 1.2 to 1.4 times the time at 187 MB.
 *
 * "through" makes a second pass from the last cell to the first, where the same recurrence gives the u of the suffixes. As
 * M[i,j] and the score of the suffixes have (i + j) * gap and (n1 + n2 - i - j) * gap in them, their sum is that of the two
 * u and (n1 + n2) * gap, which the first pass writes (NW_LEVELLED) and the second adds to (NW_ADD_SUFFIXES).
 *
 * u needs more room than M: up to min(n1, n2) * s. Where that is beyond int16 (at scores +1/-1/-1 from 10,923 bases on),
 * and where the compiler has no vector extensions, fill_plain does it, in 32 bits and a double loop.
 */
#include "nw_fill.h"

#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__) && defined(__x86_64__)
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

/* Zeros to the right of and below the pair's own block. */
static void clear_outside(const nw_pair *pair) {
    const size_t right = (size_t)(pair->stride - pair->columns - 1), below = (size_t)(pair->stride - pair->rows - 1);
    int16_t *row = pair->out + pair->columns + 1;
    if (right > 0)
        for (ptrdiff_t i = 0; i <= pair->rows; i++, row += pair->stride) memset(row, 0, right * sizeof *row);
    memset(pair->out + (pair->rows + 1) * pair->stride, 0, below * (size_t)pair->stride * sizeof *row);
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
    }
    clear_outside(pair);
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

/* Padding: codes are 0 to 255, and the two values differ so that padding matches nothing. */
#define NW_PADDING_FIRST (-1)
#define NW_PADDING_SECOND (-2)

/* What a pass over the cells writes; see above. */
enum { NW_PREFIXES, NW_LEVELLED, NW_ADD_SUFFIXES };

/* So that the compiler knows the values that depend only on the lane. */
#ifdef __clang__
#define NW_UNROLL _Pragma("unroll")
#else
#define NW_UNROLL _Pragma("GCC unroll 16")
#endif

#define NW_LANES 8
#define NW_NAME(name) name##_8
#define NW_PREFETCH(address) ((void)0) /* a processor follows 8 streams by itself */
#include "nw_fill_lanes.h"

#ifdef NW_X86
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define NW_LANES 16
#define NW_NAME(name) name##_16
#undef NW_PREFETCH
#define NW_PREFETCH(address) __builtin_prefetch(address, 1)
#include "nw_fill_lanes.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif /* NW_X86 */

#endif /* __GNUC__ */

static const char *const instruction_sets[] = {
    "plain",
#ifdef __GNUC__
    "baseline",
#ifdef NW_X86
    "avx2",
    "avx512",
#endif
#endif
};

static int in_use = 0;

const char *nw_instruction_set(int index) {
    int count = (int)(sizeof instruction_sets / sizeof *instruction_sets);
#ifdef NW_X86
    __builtin_cpu_init();
    /* row_jsd.c, which goes by the same names, wants fused multiply-add besides; only edit_band.c knows AVX-512. */
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512vbmi2") ||
        !__builtin_cpu_supports("avx512vpopcntdq"))
        count = 3;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) count = 2;
#endif
    return index < count ? instruction_sets[index] : NULL;
}

void nw_use(int index) { in_use = index; }

int nw_fill(const nw_batch *batch) {
#ifdef __GNUC__
    const int64_t most = (int64_t)larger(larger(batch->match, batch->mismatch) - 2 * batch->gap, 0) * batch->width;
    if (in_use > 0 && most <= INT16_MAX) {
#ifdef NW_X86
        const int wide = in_use > 1;
        const size_t size = wide ? memory_16(batch) : memory_8(batch);
#else
        const size_t size = memory_8(batch);
#endif
        char *memory = malloc(size + 64);
        if (memory == NULL) return -1;
        void *aligned = memory + (64 - (uintptr_t)memory % 64);
        for (ptrdiff_t done = 0; done < batch->count;) {
#ifdef NW_X86
            if (wide && batch->count - done > 8) {
                fill_16(batch, done, aligned);
                done += 16;
                continue;
            }
#endif
            fill_8(batch, done, aligned);
            done += 8;
        }
        free(memory);
        return 0;
    }
#endif
    return fill_plain(batch);
}
