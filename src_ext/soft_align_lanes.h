/* The kernel, included by soft_align.c once per register width with LANES and NAME(name) defined; that is why it has no
 * include guard. soft_align.c explains it. */

#include "float_lanes.h"

#define ALL_INTS(number) ((INTS){0} + (int32_t)(number))
#define PICK_INTS(yes, a, b) (((yes) & (a)) | (~(yes) & (b)))

/* log(x) for x in [1, 3], off by 1e-7 at most; NaN for NaN. */
static inline FLOATS NAME(small_logarithm)(FLOATS x) {
    const INTS above_root = YES(x > ALL(1.41421356f)), above_both = YES(x > ALL(2.82842712f));
    const FLOATS scale = PICK(above_both, ALL(0.25f), PICK(above_root, ALL(0.5f), ALL(1.0f)));
    const FLOATS twos = PICK(above_both, ALL(1.38629436f), PICK(above_root, ALL(0.693147181f), ALL(0.0f)));
    const FLOATS f = x * scale - 1.0f, z = f * f;
    FLOATS y = f * 7.0376836292e-2f - 1.1514610310e-1f;
    y = y * f + 1.1676998740e-1f;
    y = y * f - 1.2420140846e-1f;
    y = y * f + 1.4249322787e-1f;
    y = y * f - 1.6668057665e-1f;
    y = y * f + 2.0000714765e-1f;
    y = y * f - 2.4999993993e-1f;
    y = y * f + 3.3333331174e-1f;
    return f + (y * f * z - 0.5f * z) + twos;
}

/* One block of templates and its scratch memory, in whole registers. */
typedef struct {
    FLOATS gap;
    FLOATS *weights;        /* (letters, positions) */
    FLOATS *rows[3];        /* (positions + 1,) each: the latest anti-diagonals of the soft table */
    INTS *from;             /* (positions + 1,) where the best alignment of a cell starts */
    const FLOATS **columns; /* (width,) weights of the letter of a column, by position */
    FLOATS *mixed;          /* (width, positions) the same where the letter depends on the lane */
    INTS *letters;          /* (width,) that letter */
    FLOATS *diagonal;       /* (width, positions) probability that the last step to a cell is along the diagonal */
    FLOATS *up;             /* (width, positions) or that it is a position of the template against a gap */
    FLOATS *coming;         /* (positions + 1,) probability of a cell, as far as its next column gives it */
    FLOATS *steps;          /* (positions,) probability of the diagonal step to a cell of one column */
    FLOATS *gradient;       /* (letters, positions) */
    FLOATS gap_gradient;
} NAME(block);

/* The slice of one read in each lane. */
typedef struct {
    INTS lengths;
    ptrdiff_t longest;
} NAME(slice);

/* Read and write one array of templates, that of a lane every stride numbers. */
static inline FLOATS NAME(load)(const float *from, ptrdiff_t stride, ptrdiff_t lanes) {
    float values[LANES] = {0};
    FLOATS result;
    for (ptrdiff_t k = 0; k < lanes; k++) values[k] = from[k * stride];
    memcpy(&result, values, sizeof result);
    return result;
}

static inline void NAME(store)(float *to, ptrdiff_t stride, ptrdiff_t lanes, FLOATS values) {
    for (ptrdiff_t k = 0; k < lanes; k++) to[k * stride] = LANE(values, k);
}

/* The slice of the read that each lane's best semi-global alignment takes. */
static void NAME(find_slices)(const soft_batch *batch, NAME(block) * block, ptrdiff_t first, ptrdiff_t lanes, ptrdiff_t read) {
    const ptrdiff_t positions = batch->positions;
    const uint8_t *codes = batch->codes + read * batch->width;
    const FLOATS gap = block->gap;
    FLOATS *row = block->rows[0];
    INTS *from = block->from;
    row[0] = ALL(0.0f);
    from[0] = ALL_INTS(0);
    for (ptrdiff_t i = 1; i <= positions; i++) {
        row[i] = row[i - 1] - gap;
        from[i] = ALL_INTS(0);
    }
    FLOATS top = row[positions];
    INTS start = ALL_INTS(0), end = ALL_INTS(0);
    for (int32_t j = 1; j <= batch->lengths[read]; j++) {
        const FLOATS *weights = block->weights + codes[j - 1] * positions;
        FLOATS corner = ALL(0.0f), above = ALL(0.0f);
        INTS corner_from = ALL_INTS(j - 1), above_from = ALL_INTS(j);
        for (ptrdiff_t i = 1; i <= positions; i++) {
            const FLOATS left = row[i] - gap;
            FLOATS best = corner + weights[i - 1];
            const INTS by_left = YES(left > best);
            best = PICK(by_left, left, best);
            INTS best_from = PICK_INTS(by_left, from[i], corner_from);
            above = above - gap;
            const INTS by_above = YES(above > best);
            above = PICK(by_above, above, best);
            above_from = PICK_INTS(by_above, above_from, best_from);
            corner = row[i];
            corner_from = from[i];
            row[i] = above;
            from[i] = above_from;
        }
        const INTS better = ~YES(above <= top); /* also where NaN is among the weights, so that the score tells */
        top = PICK(better, above, top);
        start = PICK_INTS(better, above_from, start);
        end = PICK_INTS(better, ALL_INTS(j), end);
    }
    for (ptrdiff_t k = 0; k < lanes; k++) {
        batch->starts[(first + k) * batch->reads + read] = LANE(start, k);
        batch->ends[(first + k) * batch->reads + read] = LANE(end, k);
    }
}

/* Sets the columns of the table of one read. */
static NAME(slice) NAME(take_slice)(
    const soft_batch *batch, NAME(block) * block, ptrdiff_t first, ptrdiff_t lanes, ptrdiff_t read) {
    const ptrdiff_t positions = batch->positions;
    const uint8_t *codes = batch->codes + read * batch->width;
    NAME(slice) slice;
    if (batch->starts == NULL) {
        slice.lengths = ALL_INTS(batch->lengths[read]);
        slice.longest = batch->lengths[read];
        for (ptrdiff_t j = 0; j < slice.longest; j++) block->columns[j] = block->weights + codes[j] * positions;
        return slice;
    }
    int32_t starts[LANES] = {0}, lengths[LANES] = {0}, letters[LANES];
    slice.longest = 0;
    for (ptrdiff_t k = 0; k < lanes; k++) {
        const ptrdiff_t at = (first + k) * batch->reads + read;
        starts[k] = batch->starts[at];
        lengths[k] = batch->ends[at] - starts[k];
        if (lengths[k] > slice.longest) slice.longest = lengths[k];
    }
    memcpy(&slice.lengths, lengths, sizeof slice.lengths);
    for (ptrdiff_t j = 0; j < slice.longest; j++) {
        for (int k = 0; k < LANES; k++) letters[k] = j < lengths[k] ? codes[starts[k] + j] : 0;
        memcpy(block->letters + j, letters, sizeof letters);
        FLOATS *mixed = block->mixed + j * positions;
        memcpy(mixed, block->weights, (size_t)positions * sizeof *mixed);
        for (ptrdiff_t letter = 1; letter < batch->letters; letter++) {
            const INTS own = YES(block->letters[j] == ALL_INTS(letter));
            const FLOATS *weights = block->weights + letter * positions;
            for (ptrdiff_t i = 0; i < positions; i++) mixed[i] = PICK(own, weights[i], mixed[i]);
        }
        block->columns[j] = mixed;
    }
    return slice;
}

/* The score of each lane; leaves the probabilities of the steps where they are kept. */
static inline FLOATS NAME(fill_table)(const soft_batch *batch, NAME(block) * block, const NAME(slice) * slice, int keep) {
    const ptrdiff_t positions = batch->positions, longest = slice->longest;
    const FLOATS gap = block->gap;
    const float gamma = batch->gamma, inverse = 1.0f / batch->gamma;
    FLOATS *before = block->rows[0], *last = block->rows[1], *now = block->rows[2];
    FLOATS score = ALL(0.0f);
    last[0] = ALL(0.0f);
    for (ptrdiff_t d = 1; d <= positions + longest; d++) {
        const ptrdiff_t lowest = d > longest ? d - longest : 1, highest = d > positions ? positions : d - 1;
        if (d <= longest) now[0] = last[0] - gap;
        for (ptrdiff_t i = lowest; i <= highest; i++) {
            const ptrdiff_t j = d - i;
            const FLOATS by_corner = before[i - 1] + block->columns[j - 1][i - 1];
            const FLOATS by_above = last[i - 1] - gap, by_left = last[i] - gap;
            /* The largest of the three has the exponential 1. */
            const INTS above_first = YES(by_above > by_left);
            const FLOATS gap_first = PICK(above_first, by_above, by_left), gap_last = PICK(above_first, by_left, by_above);
            const INTS corner_first = YES(by_corner > gap_first);
            const FLOATS top = PICK(corner_first, by_corner, gap_first), next = PICK(corner_first, gap_first, by_corner);
            const FLOATS second = NAME(exponential)((next - top) * inverse);
            const FLOATS third = NAME(exponential)((gap_last - top) * inverse);
            const FLOATS sum = 1.0f + second + third;
            now[i] = top + gamma * NAME(small_logarithm)(sum);
            if (keep) {
                const FLOATS one = 1.0f / sum, part = second * one;
                const FLOATS gap_part = PICK(corner_first, part, one);
                block->diagonal[(j - 1) * positions + i - 1] = PICK(corner_first, one, part);
                block->up[(j - 1) * positions + i - 1] = PICK(above_first, gap_part, third * one);
            }
        }
        if (d <= positions) now[d] = last[d - 1] - gap;
        if (d >= positions) score = PICK(YES(slice->lengths == ALL_INTS(d - positions)), now[positions], score);
        FLOATS *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return score;
}

/* Adds the gradients of one read, from the probabilities that fill_table left. */
static void NAME(add_gradients)(
    const soft_batch *batch, NAME(block) * block, ptrdiff_t read, const NAME(slice) * slice, FLOATS score_gradient) {
    const ptrdiff_t positions = batch->positions;
    const uint8_t *codes = batch->codes + read * batch->width;
    FLOATS matched = ALL(0.0f);
    for (ptrdiff_t i = 0; i <= positions; i++) block->coming[i] = ALL(0.0f);
    for (ptrdiff_t j = slice->longest; j >= 1; j--) {
        const FLOATS *diagonal = block->diagonal + (j - 1) * positions, *up = block->up + (j - 1) * positions;
        FLOATS below = PICK(YES(slice->lengths == ALL_INTS(j)), score_gradient, ALL(0.0f)), below_step = ALL(0.0f);
        for (ptrdiff_t i = positions; i >= 1; i--) {
            const FLOATS cell = block->coming[i] + below;
            const FLOATS step = cell * diagonal[i - 1];
            below = cell * up[i - 1];
            block->coming[i] = (cell - step - below) + below_step;
            below_step = step;
            block->steps[i - 1] = step;
            matched += step;
        }
        if (batch->starts == NULL) {
            FLOATS *gradient = block->gradient + codes[j - 1] * positions;
            for (ptrdiff_t i = 0; i < positions; i++) gradient[i] += block->steps[i];
            continue;
        }
        for (ptrdiff_t letter = 0; letter < batch->letters; letter++) {
            const INTS own = YES(block->letters[j - 1] == ALL_INTS(letter));
            FLOATS *gradient = block->gradient + letter * positions;
            for (ptrdiff_t i = 0; i < positions; i++) gradient[i] += PICK(own, block->steps[i], ALL(0.0f));
        }
    }
    const FLOATS steps = NAME(to_floats)(slice->lengths) + (float)positions;
    block->gap_gradient += 2.0f * matched - steps * score_gradient;
}

/* All reads with one block of templates. */
static void NAME(do_block)(const soft_batch *batch, NAME(block) * block, ptrdiff_t first, int wanted) {
    const ptrdiff_t numbers = batch->letters * batch->positions, reads = batch->reads;
    const ptrdiff_t lanes = batch->templates - first < LANES ? batch->templates - first : LANES;
    block->gap = NAME(load)(batch->gaps + first, 1, lanes);
    block->gap_gradient = ALL(0.0f);
    for (ptrdiff_t at = 0; at < numbers; at++) {
        block->weights[at] = NAME(load)(batch->weights + first * numbers + at, numbers, lanes);
        if (wanted == SOFT_GRADIENTS) block->gradient[at] = ALL(0.0f);
    }
    for (ptrdiff_t read = 0; read < reads; read++) {
        if (wanted == SOFT_SLICES) {
            NAME(find_slices)(batch, block, first, lanes, read);
        } else if (wanted == SOFT_SCORES) {
            const NAME(slice) slice = NAME(take_slice)(batch, block, first, lanes, read);
            NAME(store)(batch->scores + first * reads + read, reads, lanes, NAME(fill_table)(batch, block, &slice, 0));
        } else {
            const FLOATS score_gradient = NAME(load)(batch->score_gradient + first * reads + read, reads, lanes);
            int any = 0;
            for (ptrdiff_t k = 0; k < lanes; k++) any |= LANE(score_gradient, k) != 0.0f;
            if (!any) continue; /* as behind a ReLU */
            const NAME(slice) slice = NAME(take_slice)(batch, block, first, lanes, read);
            NAME(fill_table)(batch, block, &slice, 1);
            NAME(add_gradients)(batch, block, read, &slice, score_gradient);
        }
    }
    if (wanted != SOFT_GRADIENTS) return;
    NAME(store)(batch->gap_gradient + first, 1, lanes, block->gap_gradient);
    for (ptrdiff_t at = 0; at < numbers; at++)
        NAME(store)(batch->weight_gradient + first * numbers + at, numbers, lanes, block->gradient[at]);
}

static int NAME(soft_align)(const soft_batch *batch, int wanted) {
    const size_t positions = (size_t)batch->positions, numbers = (size_t)batch->letters * positions;
    const size_t width = (size_t)batch->width, cells = width * positions;
    const int with_slices = batch->starts != NULL && wanted != SOFT_SLICES, backward = wanted == SOFT_GRADIENTS;
    const size_t registers = 2 * numbers + 6 * (positions + 1) + (with_slices ? cells + width : 0) + (backward ? 2 * cells : 0);
    const size_t pointers = (width * sizeof(FLOATS *) + 63) / 64 * 64;
    /* Room to begin at a whole register. */
    char *memory = malloc(64 + pointers + registers * sizeof(FLOATS));
    if (memory == NULL) return -1;
    char *aligned = memory + (64 - (uintptr_t)memory % 64);
    FLOATS *next = (FLOATS *)(aligned + pointers);
    NAME(block) block;
    block.columns = (const FLOATS **)aligned;
    block.weights = next;
    block.gradient = next += numbers;
    next += numbers;
    for (int row = 0; row < 3; row++, next += positions + 1) block.rows[row] = next;
    block.from = (INTS *)next;
    block.coming = next += positions + 1;
    block.steps = next += positions + 1;
    next += positions + 1;
    block.mixed = next;
    block.letters = (INTS *)(next += with_slices ? cells : 0);
    block.diagonal = next += with_slices ? width : 0;
    block.up = next + (backward ? cells : 0);
    for (ptrdiff_t first = 0; first < batch->templates; first += LANES) NAME(do_block)(batch, &block, first, wanted);
    free(memory);
    return 0;
}

#undef ALL_INTS
#undef PICK_INTS
#include "float_lanes_end.h"
