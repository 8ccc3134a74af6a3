/* Jensen-Shannon divergence of each row's softmax of logits and of scores, and its gradient, in one pass over the maps.
 *
 * With p and q the two softmaxes of a row, m = p + q and d = (p - q) / m, a cell adds (half of)
 *
 *     p log(2 p / m) + q log(2 q / m) = m/2 ((1 + d) log(1 + d) + (1 - d) log(1 - d)) = m/2 (d^2 + d^4/6 + d^6/15 + ...)
 *
 * The first form cancels where p is near q, so the series replaces it there: no divergence is negative. With
 * g = log(2 p / m), the gradient by a logit is p (g - sum p g) / 2.
 *
 * Layout: a row is copied into scratch memory that stays in the first cache, padded to whole registers; exp and log are
 * polynomials (Moshier's Cephes, single precision, errors below 2e-7), so nothing is read or written to main memory but
 * logits, scores and gradient, once each. A register has 4 lanes (SSE2, NEON, any other) or 8 (AVX2 with FMA);
 * row_jsd_lanes.h is compiled once for each, and for 1 lane where the compiler has no vector extensions. Rows are summed in
 * double precision, in order, so the result does not depend on how pairs are shared among threads.
 */
#include "row_jsd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef __GNUC__

#define LANES 4
#define NAME(name) name##_4
#include "row_jsd_lanes.h"

#ifdef __x86_64__
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define LANES 8
#define NAME(name) name##_8
#include "row_jsd_lanes.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif /* __x86_64__ */

#endif /* __GNUC__ */

#define LANES 1
#define NAME(name) name##_1
#include "row_jsd_lanes.h"

static int in_use = 0;

void row_jsd_use(int index) { in_use = index; }

int row_jsd(const jsd_batch *batch) {
#ifdef __GNUC__
#ifdef __x86_64__
    if (in_use > 1) return row_jsd_8(batch);
#endif
    if (in_use > 0) return row_jsd_4(batch);
#endif
    return row_jsd_1(batch);
}
