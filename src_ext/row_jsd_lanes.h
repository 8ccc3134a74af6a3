/* The kernel, included by row_jsd.c once per register width with LANES and NAME(name) defined; that is why it has
 * no include guard. row_jsd.c explains it. */

#include "float_lanes.h"

#if LANES == 1
typedef int16_t NAME(shorts);
#define WIDEN(value) ((FLOATS)(value))
#else
typedef int16_t NAME(shorts) __attribute__((vector_size(2 * LANES), may_alias));
#define WIDEN(value) __builtin_convertvector(value, FLOATS)
#endif

/* log(x) for x = 1 + d = 2 + 2 rest in [0, 2], finite at 0. It uses the more exact argument: d near 1, rest near 2. *near_two
 * is set for x > sqrt(2), and *below_two is then log(x) - log(2), with all its digits. */
static inline FLOATS NAME(logarithm)(FLOATS x, FLOATS d, FLOATS rest, INTS *near_two, FLOATS *below_two) {
    x = PICK(YES(x < ALL(1.17549435e-38f)), ALL(1.17549435e-38f), x);
    const INTS bits = AS_INTS(x);
    const INTS exponent = (bits - 0x3F3504F3) >> 23; /* so that the mantissa is in [sqrt(1/2), sqrt(2)) */
    const FLOATS mantissa = AS_FLOATS((INTS)((NAME(words))bits - ((NAME(words))exponent << 23)));
    *near_two = YES(exponent == 1);
    const FLOATS f = PICK(YES(exponent == 0), d, PICK(*near_two, rest, mantissa - 1.0f)), z = f * f;
    const FLOATS e = NAME(to_floats)(exponent);
    FLOATS y = f * 7.0376836292e-2f - 1.1514610310e-1f;
    y = y * f + 1.1676998740e-1f;
    y = y * f - 1.2420140846e-1f;
    y = y * f + 1.4249322787e-1f;
    y = y * f - 1.6668057665e-1f;
    y = y * f + 2.0000714765e-1f;
    y = y * f - 2.4999993993e-1f;
    y = y * f + 3.3333331174e-1f;
    y = y * f * z - 0.5f * z;
    *below_two = f + y;
    return f + (y - e * 2.12194440e-4f) + e * 0.693359375f;
}

static inline float NAME(total)(FLOATS lanes) {
    float sum = 0.0f;
    for (int k = 0; k < LANES; k++) sum += LANE(lanes, k);
    return sum;
}

static inline float NAME(largest)(FLOATS lanes) {
    float top = -INFINITY;
    for (int k = 0; k < LANES; k++) top = LANE(lanes, k) > top ? LANE(lanes, k) : top;
    return top;
}

/* Scratch memory of one row, in whole registers. */
typedef struct {
    FLOATS *map;    /* logits, then p */
    FLOATS *target; /* scores, then q, then all bits set where slope is less log(2) */
    FLOATS *slope;  /* log(2 p / m), less log(2) where it is near that; then the gradient */
    INTS *inside;   /* all bits set where a column counts */
    NAME(shorts) * scores;
    ptrdiff_t blocks;
} NAME(row);

/* The divergence of one row; leaves the gradient in slope where that is wanted. */
static inline float NAME(divergence)(const NAME(row) * row, float temperature, int with_gradient) {
    FLOATS top_map = ALL(-INFINITY), top_target = ALL(-INFINITY);
    for (ptrdiff_t b = 0; b < row->blocks; b++) {
        row->map[b] = PICK(row->inside[b], row->map[b], ALL(-INFINITY));
        row->target[b] = PICK(row->inside[b], WIDEN(row->scores[b]), ALL(-INFINITY));
        top_map = PICK(YES(row->map[b] > top_map), row->map[b], top_map);
        top_target = PICK(YES(row->target[b] > top_target), row->target[b], top_target);
    }
    const float highest_map = NAME(largest)(top_map), highest_target = NAME(largest)(top_target);
    FLOATS sum_map = ALL(0.0f), sum_target = ALL(0.0f);
    for (ptrdiff_t b = 0; b < row->blocks; b++) {
        /* Outside stays at 0 even where the highest logit is -inf or the temperature inf: the exponent is NaN there. */
        const FLOATS p = NAME(exponential)(row->map[b] - highest_map);
        const FLOATS q = NAME(exponential)((row->target[b] - highest_target) / temperature);
        row->map[b] = PICK(row->inside[b], p, ALL(0.0f));
        row->target[b] = PICK(row->inside[b], q, ALL(0.0f));
        sum_map += row->map[b];
        sum_target += row->target[b];
    }
    const float share_map = 1.0f / NAME(total)(sum_map), share_target = 1.0f / NAME(total)(sum_target);
    FLOATS sum = ALL(0.0f), pull = ALL(0.0f), pull_below_two = ALL(0.0f);
    for (ptrdiff_t b = 0; b < row->blocks; b++) {
        const FLOATS p = row->map[b] * share_map, q = row->target[b] * share_target, m = p + q;
        const FLOATS inverse = 1.0f / PICK(YES(m > ALL(0.0f)), m, ALL(1.0f));
        const FLOATS d = (p - q) * inverse, d2 = d * d;
        INTS near_two, unused;
        FLOATS below_two, unneeded;
        const FLOATS log_map = NAME(logarithm)(2.0f * p * inverse, d, -q * inverse, &near_two, &below_two);
        const FLOATS log_target = NAME(logarithm)(2.0f * q * inverse, -d, -p * inverse, &unused, &unneeded);
        FLOATS near = d2 * (1.0f / 66.0f) + 1.0f / 45.0f;
        near = near * d2 + 1.0f / 28.0f;
        near = near * d2 + 1.0f / 15.0f;
        near = near * d2 + 1.0f / 6.0f;
        near = 0.5f * m * d2 * (near * d2 + 1.0f);
        sum += PICK(YES(d2 < ALL(0.0625f)), near, p * log_map + q * log_target);
        row->map[b] = p;
        row->slope[b] = PICK(near_two, below_two, log_map);
        row->target[b] = AS_FLOATS(near_two);
        pull += p * log_map;
        pull_below_two += p * PICK(near_two, below_two, log_map - 0.693147180559945309f);
    }
    if (with_gradient) {
        /* As sum p = 1, a constant taken off every g changes nothing: where nearly all are log(2), only the rest of them
         * has digits left. */
        const float mean = NAME(total)(pull), mean_below_two = NAME(total)(pull_below_two);
        for (ptrdiff_t b = 0; b < row->blocks; b++) {
            const FLOATS own = PICK(AS_INTS(row->target[b]), ALL(mean_below_two), ALL(mean));
            row->slope[b] = PICK(row->inside[b], 0.5f * row->map[b] * (row->slope[b] - own), ALL(0.0f));
        }
    }
    return 0.5f * NAME(total)(sum);
}

static int NAME(row_jsd)(const jsd_batch *batch) {
    const ptrdiff_t columns = batch->columns, blocks = (columns + LANES - 1) / LANES;
    const size_t floats = (size_t)blocks * LANES * sizeof(float);
    /* Four arrays of floats or ints and one of shorts; and room to begin at a whole register. */
    char *memory = calloc(5 * floats + 64, 1);
    if (memory == NULL) return -1;
    char *aligned = memory + (64 - (uintptr_t)memory % 64);
    NAME(row) row;
    row.map = (FLOATS *)aligned;
    row.target = (FLOATS *)(aligned + floats);
    row.slope = (FLOATS *)(aligned + 2 * floats);
    row.inside = (INTS *)(aligned + 3 * floats);
    row.scores = (NAME(shorts) *)(aligned + 4 * floats);
    row.blocks = blocks;
    int32_t *inside = (int32_t *)row.inside;
    for (ptrdiff_t pair = 0; pair < batch->count; pair++) {
        const uint8_t *column_mask = batch->column_mask == NULL ? NULL : batch->column_mask + pair * columns;
        ptrdiff_t counting = 0;
        for (ptrdiff_t j = 0; j < columns; j++) {
            inside[j] = column_mask == NULL || column_mask[j] ? -1 : 0;
            counting -= inside[j];
        }
        double sum = 0.0;
        for (ptrdiff_t i = 0; i < batch->rows; i++) {
            const ptrdiff_t at = pair * batch->rows + i;
            float *gradient = batch->gradient == NULL ? NULL : batch->gradient + at * columns;
            if (counting == 0 || (batch->row_mask != NULL && !batch->row_mask[at])) {
                if (gradient != NULL) memset(gradient, 0, (size_t)columns * sizeof *gradient);
                continue;
            }
            memcpy(row.map, batch->logits + at * columns, (size_t)columns * sizeof(float));
            memcpy(row.scores, batch->scores + at * columns, (size_t)columns * sizeof(int16_t));
            sum += NAME(divergence)(&row, batch->temperature, gradient != NULL);
            if (gradient != NULL) memcpy(gradient, row.slope, (size_t)columns * sizeof *gradient);
        }
        batch->divergence[pair] = (float)sum;
    }
    free(memory);
    return 0;
}

#undef WIDEN
#include "float_lanes_end.h"
