/* Soft Needleman-Wunsch scores of slices of reads against templates of letter weights, and their gradients.
 *
 * With w the weights of a template, g its gap penalty and x the letters of a slice, the table is
 *
 *     F(i, j) = smax(F(i - 1, j - 1) + w(x_j, i), F(i - 1, j) - g, F(i, j - 1) - g),  F(i, 0) = -i g,  F(0, j) = -j g
 *
 * with smax(a, b, c) = gamma log(exp(a / gamma) + exp(b / gamma) + exp(c / gamma)), and the score its last cell. The three
 * shares of that sum are the probabilities of the last step to the cell; followed backwards, they give the probability E that
 * an alignment comes by a cell. A step along the diagonal into (i, j) adds its probability to the gradient of w(x_j, i). A
 * template of T positions and n letters with d such steps has T + n - 2 d gaps, whose expectation is the gradient of -g.
 *
 * The best slice of a read is that of the largest score of the same table with a plain maximum, free ends in the read, hence
 * F(0, j) = 0, and any last column. Each cell carries the start of its best alignment, so nothing is traced back. On ties a
 * diagonal step comes first, then a gap in the template, and the earliest last column; there are only sums and comparisons,
 * so every instruction set finds the same slices.
 *
 * Layout: a lane is a template, its weights one register per letter and position; 16 lanes (AVX-512), 8 (AVX2 with FMA), 4
 * (SSE2, NEON, any other) or 1. All lanes follow the same read. For slices, which differ from lane to lane, the weights of
 * each lane's own letters are first copied side by side. The soft table is filled by anti-diagonals, whose cells do not wait
 * for one another: an exponential and a logarithm have a latency of a hundred cycles each, but many can run at the same time.
 * The backward pass fills the table again instead of keeping every table of the batch in memory; it keeps two of the three
 * probabilities, and needs no more exponentials.
 */
#include "soft_align.h"

#include <stdlib.h>
#include <string.h>

/* Purposes of the memory of a call. */
enum { SOFT_SLICES, SOFT_SCORES, SOFT_GRADIENTS };

#ifdef __GNUC__

#define LANES 4
#define NAME(name) name##_4
#include "soft_align_lanes.h"

#ifdef __x86_64__
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define LANES 8
#define NAME(name) name##_8
#include "soft_align_lanes.h"
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512vbmi2"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vbmi2")
#endif
#define LANES 16
#define NAME(name) name##_16
#include "soft_align_lanes.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif /* __x86_64__ */

#endif /* __GNUC__ */

#define LANES 1
#define NAME(name) name##_1
#include "soft_align_lanes.h"

static int in_use = 0;

void soft_use(int index) { in_use = index; }

static int run(const soft_batch *batch, int wanted) {
#ifdef __GNUC__
#ifdef __x86_64__
    if (in_use > 2) return soft_align_16(batch, wanted);
    if (in_use > 1) return soft_align_8(batch, wanted);
#endif
    if (in_use > 0) return soft_align_4(batch, wanted);
#endif
    return soft_align_1(batch, wanted);
}

int soft_slices(const soft_batch *batch) { return run(batch, SOFT_SLICES); }

int soft_scores(const soft_batch *batch) { return run(batch, SOFT_SCORES); }

int soft_gradients(const soft_batch *batch) { return run(batch, SOFT_GRADIENTS); }
