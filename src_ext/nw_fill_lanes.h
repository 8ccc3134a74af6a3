/* The vector kernel, included by nw_fill.c once per register width with NW_LANES and NW_NAME(name) defined; that is why
 * it has no include guard. nw_fill.c explains it. */

typedef int16_t NW_NAME(lanes) __attribute__((vector_size(2 * NW_LANES), may_alias));
typedef uint16_t NW_NAME(words) __attribute__((vector_size(2 * NW_LANES), may_alias));
typedef int16_t NW_NAME(unaligned) __attribute__((vector_size(2 * NW_LANES), aligned(2), may_alias));
#define LANES NW_NAME(lanes)
#define UNALIGNED NW_NAME(unaligned)

/* LARGER is the lane-wise maximum; within each 128 bits, LOW and HIGH interleave the halves of a and b by 16, 32 or 64 bits.
 * The additions wrap where they have to (a cell's u and offset may each leave int16, their sum does not). */
#ifdef NW_X86
#if NW_LANES == 8
#define X86(name, a, b) ((LANES)_mm_##name((__m128i)(a), (__m128i)(b)))
#else
#define X86(name, a, b) ((LANES)_mm256_##name((__m256i)(a), (__m256i)(b)))
#endif
#define SUM(a, b) X86(add_epi16, a, b)
#define LARGER(a, b) X86(max_epi16, a, b)
#define LOW(bits, a, b) X86(unpacklo_epi##bits, a, b)
#define HIGH(bits, a, b) X86(unpackhi_epi##bits, a, b)
#else
#define SUM(a, b) ((LANES)((NW_NAME(words))(a) + (NW_NAME(words))(b)))
#ifdef __ARM_NEON
#define LARGER(a, b) ((LANES)vmaxq_s16((int16x8_t)(a), (int16x8_t)(b)))
#else
#define LARGER(a, b) (((a) & (LANES)((a) > (b))) | ((b) & ~(LANES)((a) > (b))))
#endif
#ifdef __clang__
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (LANES){__VA_ARGS__})
#endif
#define LOW(bits, a, b) LOW_##bits(a, b)
#define HIGH(bits, a, b) HIGH_##bits(a, b)
#define LOW_16(a, b) PICK(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH_16(a, b) PICK(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define LOW_32(a, b) PICK(a, b, 0, 1, 8, 9, 2, 3, 10, 11)
#define HIGH_32(a, b) PICK(a, b, 4, 5, 12, 13, 6, 7, 14, 15)
#define LOW_64(a, b) PICK(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define HIGH_64(a, b) PICK(a, b, 4, 5, 6, 7, 12, 13, 14, 15)
#endif

/* What NW_LANES pairs share while their matrices are made; tiles are NW_LANES columns wide. */
typedef struct {
    LANES *first;      /* (rows + 2,) letters; entry i is the one above row i, and 0 and those past an end are padding */
    LANES *second;     /* (columns in tiles + 1,) the same for columns */
    LANES *floor;      /* (columns in tiles + 1,) s of a mismatch, 0 where second is padding */
    LANES *state;      /* (columns in tiles,) u of the latest row */
    LANES change;      /* s of a match less s of a mismatch */
    LANES ramp;        /* 0, gap, 2 * gap, ... */
    ptrdiff_t rows;    /* bases of the longest first sequence */
    ptrdiff_t columns; /* bases of the longest second sequence */
    ptrdiff_t stride;  /* cells from row to row of a matrix */
    ptrdiff_t cells;   /* cells of a matrix */
    int32_t gap;
    int16_t level[NW_LANES]; /* gap times the bases of both sequences */
    int16_t *out[NW_LANES];
} NW_NAME(group);

/* Eight columns of cells, lane = pair, become eight rows of eight cells: in each 128 bits, w[p] is of the p-th pair. */
static inline __attribute__((always_inline)) void NW_NAME(turn)(const LANES *v, LANES *w) {
    LANES s[8], t[8];
    for (int k = 0; k < 8; k += 2) {
        s[k] = LOW(16, v[k], v[k + 1]);
        s[k + 1] = HIGH(16, v[k], v[k + 1]);
    }
    for (int k = 0; k < 8; k += 4)
        for (int half = 0; half < 2; half++) {
            t[k + 2 * half] = LOW(32, s[k + half], s[k + 2 + half]);
            t[k + 2 * half + 1] = HIGH(32, s[k + half], s[k + 2 + half]);
        }
    for (int k = 0; k < 4; k++) {
        w[2 * k] = LOW(64, t[k], t[k + 4]);
        w[2 * k + 1] = HIGH(64, t[k], t[k + 4]);
    }
}

/* The cells of one pair from what turn made of a tile. */
static inline __attribute__((always_inline)) LANES NW_NAME(cells_of)(const LANES *turned, int lane) {
#if NW_LANES == 8
    return turned[lane];
#else
    const __m256i a = (__m256i)turned[lane % 8], b = (__m256i)turned[lane % 8 + 8];
    return (LANES)(lane < 8 ? _mm256_permute2x128_si256(a, b, 0x20) : _mm256_permute2x128_si256(a, b, 0x31));
#endif
}

/* Writes scores, or adds those of the suffixes. */
static inline __attribute__((always_inline)) void NW_NAME(put)(int16_t *to, LANES u, LANES offset, int16_t level, int pass) {
    if (pass == NW_PREFIXES) u = SUM(u, offset);
    if (pass == NW_LEVELLED) u = SUM(u, (LANES){0} + level);
    if (pass == NW_ADD_SUFFIXES) u = SUM(u, *(const UNALIGNED *)to);
    *(UNALIGNED *)to = u;
}

/* One row of all pairs. Forwards a cell follows the one on its left and the row above, backwards the one on its right and
 * the row below. */
static inline __attribute__((always_inline)) void NW_NAME(row)(const NW_NAME(group) *group, ptrdiff_t i, int pass) {
    const int backwards = pass == NW_ADD_SUFFIXES;
    const LANES letter = group->first[i + backwards];
    const LANES inside = (LANES)(letter != NW_PADDING_FIRST);
    const ptrdiff_t last_tile = group->columns / NW_LANES * NW_LANES;
    LANES beside = {0}, corner = {0};
    for (ptrdiff_t tile = 0; tile <= last_tile; tile += NW_LANES) {
        const ptrdiff_t start = backwards ? last_tile - tile : tile;
        LANES turned[NW_LANES];
        for (int part = 0; part < NW_LANES; part += 8) {
            const int from = backwards ? NW_LANES - 8 - part : part;
            LANES v[8];
            for (int step = 0; step < 8; step++) {
                const int k = backwards ? 7 - step : step;
                const ptrdiff_t j = start + from + k;
                const LANES same = (LANES)(group->second[j + backwards] == letter);
                const LANES s = (group->floor[j + backwards] + (same & group->change)) & inside;
                const LANES before = group->state[j];
                const LANES taken = LARGER(before, SUM(corner, s));
                corner = before;
                group->state[j] = v[k] = beside = LARGER(beside, taken);
            }
            NW_NAME(turn)(v, turned + from);
        }

        /* All of a tile goes to memory: what runs past the end of a row is overwritten with the next row or cleared in the
         * end, and of the suffixes it is 0. Only past the end of the matrix nothing may be touched. */
        const ptrdiff_t at = i * group->stride + start, left = group->cells - at;
        const LANES offset = SUM(group->ramp, (LANES){0} + (int16_t)((i + start) * group->gap));
        if (left >= NW_LANES)
            NW_UNROLL
            for (int k = 0; k < NW_LANES; k++) {
                const int lane = k / (NW_LANES / 8) + k % (NW_LANES / 8) * 8; /* 0, 8, 1, 9, ...: two from the same loads */
                int16_t *to = group->out[lane] + at;
                if (!backwards) NW_PREFETCH(to + group->stride);
                NW_NAME(put)(to, NW_NAME(cells_of)(turned, lane), offset, group->level[lane], pass);
            }
        else
            for (int lane = 0; lane < NW_LANES; lane++) {
                LANES kept = {0};
                memcpy(&kept, group->out[lane] + at, (size_t)left * sizeof(int16_t));
                NW_NAME(put)((int16_t *)&kept, NW_NAME(cells_of)(turned, lane), offset, group->level[lane], pass);
                memcpy(group->out[lane] + at, &kept, (size_t)left * sizeof(int16_t));
            }
    }
}

/* Bytes of working memory for a group. */
static size_t NW_NAME(memory)(const nw_batch *batch) {
    return 4 * ((size_t)batch->width + NW_LANES + 2) * sizeof(LANES);
}

/* The matrices of the NW_LANES pairs from `start` on, or of what is left of them. */
static void NW_NAME(fill)(const nw_batch *batch, ptrdiff_t start, void *memory) {
    const ptrdiff_t most = batch->width + NW_LANES + 2;
    const int16_t mismatch = (int16_t)larger(batch->mismatch - 2 * batch->gap, 0);
    const int16_t match = (int16_t)larger(batch->match - 2 * batch->gap, 0);
    NW_NAME(group) group = {.first = memory, .rows = 0, .columns = 0, .stride = batch->width + 1, .gap = batch->gap};
    group.cells = group.stride * group.stride;
    group.second = group.first + most, group.floor = group.second + most, group.state = group.floor + most;
    group.change = (LANES){0} + (int16_t)(match - mismatch);
    for (ptrdiff_t k = 0; k < most; k++) {
        group.first[k] = (LANES){0} + NW_PADDING_FIRST;
        group.second[k] = (LANES){0} + NW_PADDING_SECOND;
        group.state[k] = (LANES){0};
    }
    /* Lanes without a pair, at most 7, come first: they write to where the first pair's lane overwrites it right after. */
    const int unused = batch->count - start < NW_LANES ? NW_LANES - (int)(batch->count - start) : 0;
    for (int lane = 0; lane < NW_LANES; lane++) {
        const nw_pair pair = pair_at(batch, start + (lane > unused ? lane - unused : 0));
        if (pair.rows > group.rows) group.rows = pair.rows;
        if (pair.columns > group.columns) group.columns = pair.columns;
        group.ramp[lane] = (int16_t)(lane * batch->gap);
        group.level[lane] = (int16_t)((pair.rows + pair.columns) * batch->gap);
        group.out[lane] = pair.out;
        if (lane < unused) continue;
        int16_t *first = (int16_t *)group.first + lane, *second = (int16_t *)group.second + lane;
        for (ptrdiff_t i = 1; i <= pair.rows; i++) first[i * NW_LANES] = pair.first[i - 1];
        for (ptrdiff_t j = 1; j <= pair.columns; j++) second[j * NW_LANES] = pair.second[j - 1];
    }
    for (ptrdiff_t k = 0; k < most; k++)
        group.floor[k] = ((LANES){0} + mismatch) & (LANES)(group.second[k] != NW_PADDING_SECOND);

    if (batch->through) {
        for (ptrdiff_t i = 0; i <= group.rows; i++) NW_NAME(row)(&group, i, NW_LEVELLED);
        for (ptrdiff_t k = 0; k < most; k++) group.state[k] = (LANES){0};
        for (ptrdiff_t i = group.rows; i >= 0; i--) NW_NAME(row)(&group, i, NW_ADD_SUFFIXES);
    } else {
        for (ptrdiff_t i = 0; i <= group.rows; i++) NW_NAME(row)(&group, i, NW_PREFIXES);
    }
    for (int lane = unused; lane < NW_LANES; lane++) {
        const nw_pair pair = pair_at(batch, start + lane - unused);
        clear_outside(&pair);
    }
}

#undef LANES
#undef UNALIGNED
#undef X86
#undef SUM
#undef LARGER
#undef LOW
#undef HIGH
#undef PICK
#undef LOW_16
#undef HIGH_16
#undef LOW_32
#undef HIGH_32
#undef LOW_64
#undef HIGH_64
#undef NW_LANES
#undef NW_NAME
