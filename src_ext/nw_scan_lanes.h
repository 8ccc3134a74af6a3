/* The kernel, included by nw_scan.c once per register width with LANES and NAME(name) defined; that is why it has no include
 * guard. nw_scan.c explains it. */

/* LARGER is the lane-wise maximum. UP(by, v, number) moves the lanes of v up by `by`, and fills those below with a number. */
#if LANES == 1
typedef int32_t NAME(ints);
#define INTS NAME(ints)
#define ALL(number) (number)
#define LANE(value, k) (value)
#define LARGER(a, b) ((a) > (b) ? (a) : (b))
#else
typedef int32_t NAME(ints) __attribute__((vector_size(4 * LANES), may_alias));
#define INTS NAME(ints)
#define ALL(number) ((INTS)((INTS){0} + (number)))
#define LANE(value, k) ((value)[k])
#if LANES == 8
#define LARGER(a, b) ((INTS)_mm256_max_epi32((__m256i)(a), (__m256i)(b)))
#elif defined(__ARM_NEON)
#define LARGER(a, b) ((INTS)vmaxq_s32((int32x4_t)(a), (int32x4_t)(b)))
#else
static inline INTS NAME(larger)(INTS a, INTS b) {
    const INTS yes = a > b;
    return (a & yes) | (b & ~yes);
}
#define LARGER NAME(larger)
#endif
#ifdef __clang__
#define PICK(a, b, ...) ((INTS)__builtin_shufflevector(a, b, __VA_ARGS__))
#else
#define PICK(a, b, ...) ((INTS)__builtin_shuffle(a, b, (INTS){__VA_ARGS__}))
#endif
#define UP(by, v, number) UP_##by(v, ALL(number))
#if LANES == 4
#define UP_1(v, f) PICK(f, v, 0, 4, 5, 6)
#define UP_2(v, f) PICK(f, v, 0, 1, 4, 5)
#else
#define UP_1(v, f) PICK(f, v, 0, 8, 9, 10, 11, 12, 13, 14)
#define UP_2(v, f) PICK(f, v, 0, 1, 8, 9, 10, 11, 12, 13)
#define UP_4(v, f) PICK(f, v, 0, 1, 2, 3, 8, 9, 10, 11)
#endif
#endif

/* Memory of a call, and what is known of the pair. Column j >= 1 is in lane (j - 1) / blocks of register (j - 1) % blocks. */
typedef struct {
    INTS *state;      /* (blocks,) u of the latest row, without gaps that begin in other lanes */
    INTS *column;     /* (blocks,) the largest u of each column; affine gaps only */
    INTS *profile;    /* (letters, blocks) sub - 2 * e of each letter beside each column */
    int32_t *second;  /* (blocks, LANES) rank of the letter of each column, `letters` past the end */
    int32_t *scores;  /* (letters + 1,) a row of the table, and 0 past the end */
    int32_t *places;  /* (side,) where in state the columns are that are written; -1 for the border */
    uint8_t *known;   /* (letters,) whether a row of profile is filled */
    ptrdiff_t blocks;
    INTS before;      /* what gaps that begin in other lanes add to state */
} NAME(scan);

/* The largest of the border and of all lanes to the left of each lane. */
static inline INTS NAME(from_left)(INTS best, int32_t border) {
#if LANES == 1
    (void)best;
    return border;
#else
    INTS left = UP(1, best, border);
    left = LARGER(left, UP(1, left, border));
    left = LARGER(left, UP(2, left, border));
#if LANES == 8
    left = LARGER(left, UP(4, left, border));
#endif
    return left;
#endif
}

/* The next row. The largest u of the lanes to the left is also that of the column on the left of each lane's first one. */
static inline void NAME(linear_row)(NAME(scan) * scan, const INTS *profile) {
    const INTS before = scan->before;
    INTS *const state = scan->state;
    INTS corner = before, best = ALL(0);
    SCAN_UNROLL
    for (ptrdiff_t b = 0; b < scan->blocks; b++) {
        const INTS above = LARGER(state[b], before);
        best = LARGER(best, LARGER(above, corner + profile[b]));
        corner = above;
        state[b] = best;
    }
    scan->before = NAME(from_left)(best, 0);
}

/* The next row; above_border is u of the border in the row above. */
static inline void NAME(affine_row)(NAME(scan) * scan, const INTS *profile, int32_t opening, int32_t above_border) {
    const INTS before = scan->before, open = ALL(opening);
    INTS *const state = scan->state, *const column = scan->column;
    const INTS last = LARGER(state[scan->blocks - 1], before);
#if LANES == 1
    (void)last;
    INTS corner = above_border;
#else
    INTS corner = UP(1, last, above_border);
#endif
    INTS best = ALL(INT32_MIN);
    SCAN_UNROLL
    for (ptrdiff_t b = 0; b < scan->blocks; b++) {
        const INTS above = LARGER(state[b], before);
        const INTS highest = LARGER(column[b], above);
        const INTS down = highest + open, across = corner + profile[b];
        const INTS taken = LARGER(down, across);
        best = LARGER(best, taken);
        const INTS along = best + open;
        column[b] = highest;
        corner = above;
        state[b] = LARGER(taken, along);
    }
    scan->before = NAME(from_left)(best, opening) + open;
}

static const INTS *NAME(profile_of)(const scan_batch *batch, const NAME(scan) * scan, ptrdiff_t rank) {
    INTS *profile = scan->profile + rank * scan->blocks;
    if (!scan->known[rank]) {
        int32_t *to = (int32_t *)profile;
        for (ptrdiff_t k = 0; k < batch->letters; k++)
            scan->scores[k] = batch->table[rank * batch->letters + k] - 2 * batch->gap_extend;
        for (ptrdiff_t k = 0; k < scan->blocks * LANES; k++) to[k] = scan->scores[scan->second[k]];
        scan->known[rank] = 1;
    }
    return profile;
}

/* Spreads the second sequence over the lanes. */
static void NAME(set_second)(const scan_batch *batch, NAME(scan) * scan, const scan_pair *pair) {
    scan->blocks = (pair->columns + LANES - 1) / LANES;
    for (ptrdiff_t lane = 0, j = 0; lane < LANES; lane++)
        for (ptrdiff_t b = 0; b < scan->blocks; b++, j++)
            scan->second[b * LANES + lane] =
                j < pair->columns ? batch->ranks[pair->second[j * pair->step]] : (int32_t)batch->letters;
    memset(scan->known, 0, (size_t)batch->letters);
}

static int32_t NAME(place_of)(const NAME(scan) * scan, ptrdiff_t column) {
    return column ? (int32_t)((column - 1) % scan->blocks * LANES + (column - 1) / scan->blocks) : -1;
}

static inline int32_t NAME(value_at)(const NAME(scan) * scan, int32_t place, int32_t border) {
    if (place < 0) return border;
    const int32_t state = ((const int32_t *)scan->state)[place], before = LANE(scan->before, place % LANES);
    return state > before ? state : before;
}

/* Writes the cells of a row, or adds those of the suffixes. `row` counts from the end in a pass backwards. */
static void NAME(put)(
    const scan_batch *batch, const NAME(scan) * scan, const scan_pair *pair, ptrdiff_t row, int32_t border, int32_t *out, int pass) {
    const ptrdiff_t stride = batch->stride, cells = pair->columns / stride + 1;
    const ptrdiff_t from = pass == SCAN_ADD_SUFFIXES ? pair->rows - row : row;
    if (from % stride != 0) return;
    out += from / stride * batch->side;
    for (ptrdiff_t k = 0; k < cells; k++) {
        const int32_t value = NAME(value_at)(scan, scan->places[k], border);
        if (pass == SCAN_ADD_SUFFIXES) out[k] = sum_of(out[k], value);
        if (pass == SCAN_LEVELLED) out[k] = sum_of(value, (int64_t)(pair->rows + pair->columns) * batch->gap_extend);
        if (pass == SCAN_PREFIXES) out[k] = sum_of(value, (int64_t)(row + k * stride) * batch->gap_extend);
    }
}

/* One pass over a pair. */
static void NAME(run)(const scan_batch *batch, NAME(scan) * scan, const scan_pair *pair, int32_t *out, int pass) {
    const int32_t opening = batch->gap_open - batch->gap_extend;
    for (ptrdiff_t b = 0; b < scan->blocks; b++) {
        scan->state[b] = ALL(opening);
        scan->column[b] = ALL(INT32_MIN);
    }
    scan->before = ALL(opening);
    if (pass != SCAN_SCORE)
        for (ptrdiff_t k = 0; k <= pair->columns / batch->stride; k++) {
            const ptrdiff_t column = k * batch->stride;
            scan->places[k] = NAME(place_of)(scan, pass == SCAN_ADD_SUFFIXES ? pair->columns - column : column);
        }
    int32_t border = 0;
    for (ptrdiff_t i = 0; i <= pair->rows; i++) {
        if (i > 0 && pair->columns > 0) {
            const INTS *profile = NAME(profile_of)(batch, scan, batch->ranks[pair->first[(i - 1) * pair->step]]);
            if (opening == 0)
                NAME(linear_row)(scan, profile);
            else
                NAME(affine_row)(scan, profile, opening, border);
        }
        if (i > 0) border = opening;
        if (pass != SCAN_SCORE) NAME(put)(batch, scan, pair, i, border, out, pass);
    }
    if (pass == SCAN_SCORE) {
        const int32_t value = NAME(value_at)(scan, NAME(place_of)(scan, pair->columns), border);
        *out = sum_of(value, (int64_t)(pair->rows + pair->columns) * batch->gap_extend);
    }
}

static int NAME(nw_scan)(const scan_batch *batch) {
    const size_t blocks = (size_t)(batch->longest + LANES - 1) / LANES, letters = (size_t)batch->letters;
    const size_t places = batch->stride ? (size_t)batch->side : 0;
    const size_t size = (3 + letters) * blocks * LANES + letters + 1 + places;
    char *memory = malloc(size * sizeof(int32_t) + letters + 64);
    if (memory == NULL) return -1;
    NAME(scan) scan;
    scan.state = (INTS *)(memory + (64 - (uintptr_t)memory % 64));
    scan.column = scan.state + blocks;
    scan.profile = scan.column + blocks;
    scan.second = (int32_t *)(scan.profile + letters * blocks);
    scan.scores = scan.second + blocks * LANES;
    scan.places = scan.scores + letters + 1;
    scan.known = (uint8_t *)(scan.places + places);
    scan.blocks = 0;
    scan.scores[letters] = 0;
    ptrdiff_t spread = -1; /* the second sequence that is spread over the lanes */
    for (ptrdiff_t index = 0; index < batch->count; index++) {
        const scan_pair pair = pair_at(batch, index, 0);
        int32_t *out = batch->out + (batch->stride ? index * batch->side * batch->side : index);
        if (spread != batch->pairs[2 * index + 1]) NAME(set_second)(batch, &scan, &pair);
        spread = (ptrdiff_t)batch->pairs[2 * index + 1];
        NAME(run)(batch, &scan, &pair, out, !batch->stride ? SCAN_SCORE : batch->through ? SCAN_LEVELLED : SCAN_PREFIXES);
        if (batch->through) {
            const scan_pair reverse = pair_at(batch, index, 1);
            NAME(set_second)(batch, &scan, &reverse);
            NAME(run)(batch, &scan, &reverse, out, SCAN_ADD_SUFFIXES);
            spread = -1;
        }
    }
    free(memory);
    return 0;
}

#undef INTS
#undef ALL
#undef LANE
#undef LARGER
#undef PICK
#undef UP
#undef UP_1
#undef UP_2
#undef UP_4
#undef LANES
#undef NAME
