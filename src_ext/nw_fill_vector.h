/* The vector kernel, included by nw_fill.c once per instruction set with NW_LANES and NW_NAME(name) defined.
 * No include guard: that is the point. The layout is explained in nw_fill.c. */

typedef int16_t NW_NAME(lanes) __attribute__((vector_size(2 * NW_LANES), may_alias));
typedef uint16_t NW_NAME(words) __attribute__((vector_size(2 * NW_LANES), may_alias));
typedef int16_t NW_NAME(unaligned) __attribute__((vector_size(2 * NW_LANES), aligned(2), may_alias));
#define LANES NW_NAME(lanes)
#define WORDS NW_NAME(words)
#define UNALIGNED NW_NAME(unaligned)

/* Lanes of a (and, from NW_LANES on, of b) by constant index. */
#ifdef __clang__
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (LANES){__VA_ARGS__})
#endif

/* LARGER is the lane-wise maximum; SHIFT moves lanes up by 1, 2 or 4 within each 128 bits and brings in zeros. */
#if NW_LANES == 8
#ifdef NW_X86
#define LARGER(a, b) ((LANES)_mm_max_epi16((__m128i)(a), (__m128i)(b)))
#define SHIFT(a, by) ((LANES)_mm_slli_si128((__m128i)(a), 2 * (by)))
#else
#ifdef __ARM_NEON
#define LARGER(a, b) ((LANES)vmaxq_s16((int16x8_t)(a), (int16x8_t)(b)))
#else
#define LARGER(a, b) (((a) & (LANES)((a) > (b))) | ((b) & ~(LANES)((a) > (b))))
#endif
#define SHIFT(a, by) PICK((LANES){0}, a, 8 - by, 9 - by, 10 - by, 11 - by, 12 - by, 13 - by, 14 - by, 15 - by)
#endif
#define LAST(a) PICK(a, a, 7, 7, 7, 7, 7, 7, 7, 7)
#define AFTER(a, b) PICK(a, b, 7, 8, 9, 10, 11, 12, 13, 14)
#define ACROSS(a) (a)

#elif NW_LANES == 16
#define LARGER(a, b) ((LANES)_mm256_max_epi16((__m256i)(a), (__m256i)(b)))
#define SHIFT(a, by) ((LANES)_mm256_slli_si256((__m256i)(a), 2 * (by)))
#define LAST(a) PICK(a, a, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15)
#define AFTER(a, b) PICK(a, b, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30)
#define ACROSS(a) LARGER(a, PICK(a, a, 0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7))

#else
#define LARGER(a, b) ((LANES)_mm512_max_epi16((__m512i)(a), (__m512i)(b)))
#define SHIFT(a, by) ((LANES)_mm512_bslli_epi128((__m512i)(a), 2 * (by)))
#define EIGHT(k) k, k, k, k, k, k, k, k
#define LAST(a) PICK(a, a, EIGHT(31), EIGHT(31), EIGHT(31), EIGHT(31))
#define AFTER(a, b)                                                                                                   \
    PICK(a, b, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, \
         58, 59, 60, 61, 62)
#endif

#if NW_LANES == 32
static inline __attribute__((always_inline)) LANES NW_NAME(across)(LANES a) {
    LANES b = PICK(a, a, 0, 1, 2, 3, 4, 5, 6, 7, EIGHT(7), 16, 17, 18, 19, 20, 21, 22, 23, EIGHT(23));
    a = LARGER(a, b);
    b = PICK(a, a, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, EIGHT(15), EIGHT(15));
    return LARGER(a, b);
}
#define ACROSS(a) NW_NAME(across)(a)
#endif

/* The matrix of first (rows) against second (columns, given as lanes in `letters`), by rows to out; or, where `added` is
 * not NULL, each row through `added` and backwards onto the row of out, from the last row up. */
static inline __attribute__((always_inline)) void NW_NAME(matrix)(const nw_batch *batch, const nw_pair *pair,
                                                                  const int16_t *letters, int16_t *state, int16_t *added) {
    const int16_t mismatch = (int16_t)larger(batch->mismatch - 2 * batch->gap, 0);
    const int16_t match = (int16_t)larger(batch->match - 2 * batch->gap, 0);
    const ptrdiff_t blocks = (pair->columns + NW_LANES) / NW_LANES, size = blocks * NW_LANES;
    const LANES zero = {0}, on_mismatch = zero + mismatch, change = zero + (int16_t)(match - mismatch);
    const WORDS next_block = (WORDS)zero + (uint16_t)(batch->gap * NW_LANES);
    /* Left of column 0: so low that no s lifts it above 0. */
    const LANES border = zero + (int16_t)-larger(match, mismatch);
    WORDS ramp;
    for (int lane = 0; lane < NW_LANES; lane++) ramp[lane] = (uint16_t)(lane * batch->gap);
    memset(state, 0, (size_t)size * sizeof *state);

    for (ptrdiff_t i = 0; i <= pair->rows; i++) {
        const ptrdiff_t target = added ? pair->rows - i : i;
        int16_t *row = pair->out + target * pair->stride;
        int16_t *to = added ? added : row;
        WORDS offset = ramp + (uint16_t)(i * batch->gap);
        LANES carry = zero, above_left = border;
        /* A row may run past its end into the next, which is written later; the last ones may not. */
        const ptrdiff_t whole = added || (pair->stride - i) * pair->stride >= size ? blocks : blocks - 1;
        LANES letter = zero + (int16_t)(i ? (added ? pair->first[pair->rows - i] : pair->first[i - 1]) : -1);
        for (ptrdiff_t block = 0; block < blocks; block++) {
            LANES *cell = (LANES *)(state + block * NW_LANES);
            const LANES above = *cell;
            LANES best = above;
            if (i > 0) {
                const LANES same = (LANES)(*(const LANES *)(letters + block * NW_LANES) == letter);
                const LANES diagonal = AFTER(above_left, above) + on_mismatch + (same & change);
                best = LARGER(above, diagonal);
                LANES shifted = SHIFT(best, 1);
                best = LARGER(best, shifted);
                shifted = SHIFT(best, 2);
                best = LARGER(best, shifted);
                shifted = SHIFT(best, 4);
                best = LARGER(best, shifted);
                best = ACROSS(best);
                const LANES last = LAST(best);
                best = LARGER(best, carry);
                carry = LARGER(carry, last);
                *cell = best;
                above_left = above;
            }
            const LANES score = (LANES)((WORDS)best + offset);
            offset += next_block;
            if (block < whole)
                *(UNALIGNED *)(to + block * NW_LANES) = score;
            else
                memcpy(to + block * NW_LANES, &score, (size_t)(pair->columns + 1 - block * NW_LANES) * sizeof *to);
        }
        if (added)
            for (ptrdiff_t j = 0; j <= pair->columns; j++) row[j] = (int16_t)(row[j] + added[pair->columns - j]);
        else
            memset(row + pair->columns + 1, 0, (size_t)(pair->stride - pair->columns - 1) * sizeof *row);
    }
}

static int NW_NAME(fill)(const nw_batch *batch) {
    const size_t size = (size_t)(batch->width / NW_LANES + 1) * NW_LANES;
    char *memory = malloc(3 * size * sizeof(int16_t) + sizeof(LANES));
    if (memory == NULL) return -1;
    int16_t *letters = (int16_t *)(memory + (sizeof(LANES) - (uintptr_t)memory % sizeof(LANES)));
    int16_t *state = letters + size, *added = state + size;
    letters[0] = 0;
    for (ptrdiff_t index = 0; index < batch->count; index++) {
        const nw_pair pair = pair_at(batch, index);
        for (ptrdiff_t j = 0; j < pair.columns; j++) letters[j + 1] = pair.second[j];
        memset(letters + pair.columns + 1, 0, (size - (size_t)pair.columns - 1) * sizeof *letters);
        NW_NAME(matrix)(batch, &pair, letters, state, NULL);
        clear_below(&pair);
        if (batch->through) {
            for (ptrdiff_t j = 0; j < pair.columns; j++) letters[pair.columns - j] = pair.second[j];
            NW_NAME(matrix)(batch, &pair, letters, state, added);
        }
    }
    free(memory);
    return 0;
}

#undef LANES
#undef WORDS
#undef UNALIGNED
#undef PICK
#undef SHIFT
#undef LARGER
#undef LAST
#undef AFTER
#undef ACROSS
#undef EIGHT
#undef NW_LANES
#undef NW_NAME
