/* The kernel, included by edit_band.c once per register width with EDIT_LANES and EDIT_NAME(name) defined; that is why it
 * has no include guard. edit_band.c explains it. */

#if EDIT_LANES == 1
typedef uint64_t EDIT_NAME(vector);
#else
typedef uint64_t EDIT_NAME(vector) __attribute__((vector_size(8 * EDIT_LANES), may_alias));
#endif
#define VECTOR EDIT_NAME(vector)
#define ALL(number) ((VECTOR)((VECTOR){0} + (uint64_t)(number)))

/* SPREAD fills a lane with its top bit; RIGHT and LEFT shift by the count in a vector, LEFT by 1 to 64, SHORT_LEFT by 0 to 63; WINDOW are the 64
 * bits of high:low from bit `right` on, where right + left == 64; BESIDE is a shift to the right by one. */
#if defined(EDIT_X86) && EDIT_LANES == 8
#define X86(name, ...) ((VECTOR)_mm512_##name(__VA_ARGS__))
#define M(value) ((__m512i)(value))
#define TERNARY(table, a, b, c) X86(ternarylogic_epi64, M(a), M(b), M(c), table)
#define SPREAD(a) X86(srai_epi64, M(a), 63)
#define WINDOW(low, high, right, left) X86(shrdv_epi64, M(low), M(high), M(right))
#define BESIDE(low, high) X86(shrdi_epi64, M(low), M(high), 1)
#define AND_XOR(a, b, c) TERNARY(0x60, a, b, c)    /* a & (b ^ c) */
#define XOR_OR(a, b, c) TERNARY(0xBE, a, b, c)     /* (a ^ b) | c */
#define OR_WITHOUT(a, b, c) TERNARY(0xF2, a, b, c) /* a | (~b & c) */
#define OR_NOT(a, b, c) TERNARY(0x54, a, b, c)     /* (a | b) & ~c */
#define BITS(a) X86(popcnt_epi64, M(a))
#else
#if defined(EDIT_X86) && EDIT_LANES == 4
#define M(value) ((__m256i)(value))
#define SPREAD(a) ((VECTOR)_mm256_cmpgt_epi64(_mm256_setzero_si256(), M(a)))
#define RIGHT(a, count) ((VECTOR)_mm256_srlv_epi64(M(a), M(count)))
#define LEFT(a, count) ((VECTOR)_mm256_sllv_epi64(M(a), M(count)))
#define SHORT_LEFT LEFT
#elif defined(EDIT_X86) && EDIT_LANES == 2
#define M(value) ((__m128i)(value))
#define SPREAD(a) ((VECTOR)_mm_shuffle_epi32(_mm_srai_epi32(M(a), 31), 0xF5))
#define RIGHT(a, count) ((VECTOR)_mm_srl_epi64(M(a), M(count)))
#define LEFT(a, count) ((VECTOR)_mm_sll_epi64(M(a), M(count)))
#define SHORT_LEFT LEFT
#else
#define SPREAD(a) ((VECTOR){0} - ((a) >> 63))
#define RIGHT(a, count) ((a) >> (count))
#define SHORT_LEFT(a, count) ((a) << (count))
#define LEFT(a, count) ((a) << 1 << ((count) - 1)) /* 64 is too many at once */
#endif
#define WINDOW(low, high, right, left) (RIGHT(low, right) | LEFT(high, left))
#define BESIDE(low, high) ((VECTOR)((low) >> 1 | (high) << 63))
#define AND_XOR(a, b, c) ((a) & ((b) ^ (c)))
#define XOR_OR(a, b, c) (((a) ^ (b)) | (c))
#define OR_WITHOUT(a, b, c) ((a) | (~(b) & (c)))
#define OR_NOT(a, b, c) (((a) | (b)) & ~(c))
#define BITS(a) EDIT_NAME(bits)(a)
EDIT_INLINE VECTOR EDIT_NAME(bits)(VECTOR a) {
    a = a - (a >> 1 & ALL(0x5555555555555555u));
    a = (a & ALL(0x3333333333333333u)) + (a >> 2 & ALL(0x3333333333333333u));
    a = (a + (a >> 4)) & ALL(0x0F0F0F0F0F0F0F0Fu);
    a += a >> 8;
    a += a >> 16;
    return (a + (a >> 32)) & ALL(127);
}
#endif

/* EDIT_LANES pairs in a band. Letters are 64 a word, bit s of word q being that of column 64 q + s - phase. */
typedef struct {
    VECTOR *second; /* listed: planes of the second sequences; block: their equal letters, letter by letter */
    VECTOR *first;  /* listed: planes of the first sequences, inverted */
    VECTOR *up;     /* working memory of a wide band */
    VECTOR *down;
    VECTOR *mask;            /* bits of the cells after the wanted one in the last column */
    const uint8_t *letters;  /* block: the first sequence */
    ptrdiff_t second_stride; /* words from plane to plane, or from letter to letter */
    ptrdiff_t first_stride;
    ptrdiff_t columns;       /* letters of the longest first sequence */
    ptrdiff_t words;         /* width of the band */
    ptrdiff_t below;         /* diagonals of the band below that of the first cell */
    ptrdiff_t phase;
    ptrdiff_t step;          /* columns from check to check, 16, 32 or 64 */
    int64_t gap[EDIT_LANES];    /* letters that the second sequence has more than the first */
    int64_t longer[EDIT_LANES]; /* letters of the longer one */
    int64_t least[EDIT_LANES];  /* the difference of their lengths */
    int64_t exact[EDIT_LANES];  /* up to this, a result is the distance, or shows that it is beyond the cutoff */
    int64_t stop[EDIT_LANES];   /* larger distances need not be known */
    int64_t found[EDIT_LANES];
    int64_t placed_gap[EDIT_LANES]; /* values for which the band was last placed */
    int64_t placed_longer[EDIT_LANES];
    int64_t placed_words;
    unsigned age;
} EDIT_NAME(group);

/* One word of a column. In: vectors of the column before and which letters are equal (with the carry from the word below);
 * `moved` is equal | down one bit further. Out: vectors of the column, `right_down` whose top bit is the carry to the word
 * above, and `same`, the cells that are as the ones before them on their diagonals. */
#define STEP(equal, moved, up, down, right_down, same)                  \
    do {                                                                \
        const VECTOR zero = XOR_OR(((equal) & up) + up, up, equal);     \
        const VECTOR not_right_up = OR_NOT(zero, up, down);             \
        right_down = up & zero;                                         \
        same = zero | down;                                             \
        up = OR_WITHOUT(right_down, moved, not_right_up);               \
        down = ~not_right_up & (moved);                                 \
    } while (0)

/* The distances, or lower bounds of them if all lanes are beyond their stop. planes is 0 for a block. */
EDIT_INLINE void EDIT_NAME(band)(EDIT_NAME(group) *group, const ptrdiff_t words, const int planes) {
    const int rows = planes ? planes : 1; /* of words that a window is taken from */
    VECTOR own_up[4], own_down[4], plane[EDIT_PLANES], letter[EDIT_PLANES];
    VECTOR *const up = words <= 4 ? own_up : group->up, *const down = words <= 4 ? own_down : group->down;
    for (ptrdiff_t k = 0; k < words; k++) {
        const int64_t zeros = group->below - 64 * k;
        const uint64_t ones = zeros >= 64 ? 0 : zeros <= 0 ? ~(uint64_t)0 : ~(uint64_t)0 << zeros;
        up[k] = ALL(ones);
        down[k] = ALL(~ones);
    }
    VECTOR diagonal = {0}; /* cells of the last diagonal that are as the one before */
    const ptrdiff_t begin = group->phase, end = begin + group->columns, step = group->step;
    const int64_t last = 64 * words - 1 - group->below;
    for (ptrdiff_t at = begin; at < end;) {
        const ptrdiff_t q = at / 64, stop = smaller((at / step + 1) * step, end);
        VECTOR right = ALL(at % 64);
#if defined(EDIT_X86) && EDIT_LANES == 8
        VECTOR kept_bits = {0};
        EDIT_UNROLL
        for (int p = 0; p < planes; p++)
            letter[p] = X86(rorv_epi64, M(group->first[p * group->first_stride + q]), M(right));
#else
        VECTOR left = ALL(64) - right;
        EDIT_UNROLL
        for (int p = 0; p < planes; p++) letter[p] = group->first[p * group->first_stride + q];
#endif
        for (; at < stop; at++) {
            const VECTOR *const second = group->second + q + (planes ? 0 : group->letters[at - begin] * group->second_stride);
#if defined(EDIT_X86) && EDIT_LANES == 8
            EDIT_UNROLL
            for (int p = 0; p < planes; p++) {
                letter[p] = X86(ror_epi64, M(letter[p]), 1);
                plane[p] = SPREAD(letter[p]);
            }
#else
            EDIT_UNROLL
            for (int p = 0; p < planes; p++) plane[p] = SPREAD(SHORT_LEFT(letter[p], left - ALL(1)));
#endif
            VECTOR low[EDIT_PLANES], equal, carry = {0};
            EDIT_UNROLL
            for (int p = 0; p < rows; p++) low[p] = second[p * group->second_stride];
/* Letters of word k of the window that are equal to the first sequence's; low is left at word k + 1. */
#define EQUAL(k, result)                                                                                       \
    do {                                                                                                       \
        EDIT_UNROLL                                                                                            \
        for (int p = 0; p < rows; p++) {                                                                       \
            const VECTOR high = second[p * group->second_stride + (k) + 1];                                    \
            const VECTOR window = WINDOW(low[p], high, right, left);                                           \
            result = !planes ? window : p == 0 ? (VECTOR)(window ^ plane[p]) : (VECTOR)AND_XOR(result, window, plane[p]); \
            low[p] = high;                                                                                     \
        }                                                                                                      \
    } while (0)
            EQUAL(0, equal);
            VECTOR next_down = down[0], straight = equal | next_down;
            EDIT_UNROLL
            for (ptrdiff_t k = 0; k < words - 1; k++) {
                VECTOR next_equal = {0}, was_up = up[k], was_down = next_down, right_down, same;
                EQUAL(k + 1, next_equal);
                next_down = down[k + 1];
                const VECTOR next_straight = next_equal | next_down, moved = BESIDE(straight, next_straight);
                equal |= carry;
                STEP(equal, moved, was_up, was_down, right_down, same);
                (void)same;
                up[k] = was_up;
                down[k] = was_down;
                carry = right_down >> 63;
                equal = next_equal;
                straight = next_straight;
            }
            VECTOR last_up = up[words - 1], right_down, same;
            const VECTOR moved = straight >> 1;
            if (words > 1) equal |= carry;
            STEP(equal, moved, last_up, next_down, right_down, same);
            (void)right_down;
            up[words - 1] = last_up;
            down[words - 1] = next_down;
#undef EQUAL
            right += ALL(1);
#if defined(EDIT_X86) && EDIT_LANES == 8
            kept_bits = X86(shldi_epi64, M(kept_bits), M(same), 1);
#else
            diagonal += same >> 63;
            left -= ALL(1);
#endif
        }
#if defined(EDIT_X86) && EDIT_LANES == 8
        diagonal += BITS(kept_bits);
#endif
        VECTOR value = ALL(last + at - begin) - diagonal;
        for (ptrdiff_t k = 0; k < words; k++) value += BITS(down[k] & group->mask[k]) - BITS(up[k] & group->mask[k]);
        memcpy(group->found, &value, sizeof value);
        if (at == end) return;
        int beyond = 1;
        for (int lane = 0; lane < EDIT_LANES; lane++) beyond &= group->found[lane] > group->stop[lane];
        if (beyond) return;
    }
    /* No columns. */
    for (int lane = 0; lane < EDIT_LANES; lane++) group->found[lane] = group->longer[lane];
}
#undef STEP

/* One function per width that stays in registers. */
#define EDIT_BANDS(planes)                                                                                     \
    static void EDIT_NAME(band_1_##planes)(EDIT_NAME(group) * group) { EDIT_NAME(band)(group, 1, planes); }        \
    static void EDIT_NAME(band_2_##planes)(EDIT_NAME(group) * group) { EDIT_NAME(band)(group, 2, planes); }        \
    static void EDIT_NAME(band_3_##planes)(EDIT_NAME(group) * group) { EDIT_NAME(band)(group, 3, planes); }        \
    static void EDIT_NAME(band_4_##planes)(EDIT_NAME(group) * group) { EDIT_NAME(band)(group, 4, planes); }        \
    static void EDIT_NAME(band_##planes)(EDIT_NAME(group) * group) {                                               \
        if (group->words == 1)                                                                                 \
            EDIT_NAME(band_1_##planes)(group);                                                                 \
        else if (group->words == 2)                                                                            \
            EDIT_NAME(band_2_##planes)(group);                                                                 \
        else if (group->words == 3)                                                                            \
            EDIT_NAME(band_3_##planes)(group);                                                                 \
        else if (group->words == 4)                                                                            \
            EDIT_NAME(band_4_##planes)(group);                                                                 \
        else                                                                                                   \
            EDIT_NAME(band)(group, group->words, planes);                                                      \
    }
EDIT_BANDS(0)
EDIT_BANDS(2)
EDIT_BANDS(3)
EDIT_BANDS(5)

/* Chooses the width of the band, at least `words`, and its place; gap and longer are known. */
static void EDIT_NAME(place)(EDIT_NAME(group) *group, const edit_call *call, int64_t words) {
    if (group->age++ % EDIT_AGE != 0 && words == group->placed_words &&
        memcmp(group->gap, group->placed_gap, sizeof group->gap) == 0 &&
        memcmp(group->longer, group->placed_longer, sizeof group->longer) == 0)
        return;
    memcpy(group->placed_gap, group->gap, sizeof group->gap);
    memcpy(group->placed_longer, group->longer, sizeof group->longer);
    group->placed_words = words;
    int64_t lowest = 0, highest = 0, enough = 0, wish = 0;
    for (int lane = 0; lane < EDIT_LANES; lane++) {
        const int64_t gap = group->gap[lane], apart = group->least[lane] = gap < 0 ? -gap : gap;
        if (apart > call->cutoff) continue;
        lowest = smaller(lowest, gap);
        highest = larger(highest, gap);
        /* Of 2 x diagonals to spare. */
        enough = larger(enough, smaller(call->cutoff - 1, group->longer[lane] - 2) - apart);
        wish = larger(wish, call->typical * group->longer[lane] / EDIT_ONE - 2 - apart);
    }
    const int64_t width = highest - lowest + 1;
    words = larger(words, (width + 2 * ((wish + 1) / 2) + 63) / 64);
    words = smaller(words, (width + 2 * ((enough + 1) / 2) + 63) / 64);
    const int64_t spare = (64 * words - width) / 2;
    group->words = words;
    group->below = spare - lowest;
    group->phase = (64 - group->below % 64) % 64;
    group->step = call->cutoff < 32 ? 16 : call->cutoff < 64 ? 32 : 64;
    for (int lane = 0; lane < EDIT_LANES; lane++) {
        const int64_t apart = group->least[lane], sure = apart + 2 * spare + 1;
        group->exact[lane] = apart > call->cutoff || sure >= call->cutoff ? INT64_MAX : sure + 1;
        group->stop[lane] = apart > call->cutoff ? -1 : smaller(sure + 1, call->cutoff);
        const int64_t from = larger(0, smaller(group->gap[lane] + group->below, 64 * words - 1));
        for (int64_t k = 0; k < words; k++) {
            const int64_t zeros = from - 64 * k;
            uint64_t bits = zeros >= 64 ? 0 : zeros <= 0 ? ~(uint64_t)0 : ~(uint64_t)0 << zeros;
            if (k == words - 1) bits &= ~((uint64_t)1 << 63);
            ((uint64_t *)group->mask)[k * EDIT_LANES + lane] = bits;
        }
    }
}

/* Where a lane's distance is known, writes it; where it is beyond the cutoff, writes that. Returns 0 for a wider band. */
EDIT_INLINE int EDIT_NAME(settle)(const EDIT_NAME(group) *group, int lane, int64_t cutoff, int32_t *to, int32_t *mirror) {
    const int64_t found = larger(group->found[lane], group->least[lane]);
    if (found > group->exact[lane]) return 0;
    *to = (int32_t)smaller(found, cutoff + 1);
    if (mirror != NULL) *mirror = *to;
    return 1;
}

/* Words of a sequence's planes to a lane: to[plane * stride + w] for words below `most`. */
static void EDIT_NAME(lay)(const edit_set *set, int64_t sequence, VECTOR *to, int lane, ptrdiff_t stride, ptrdiff_t most) {
    const ptrdiff_t words = smaller((set->lengths[sequence] + 63) / 64, most);
    const uint64_t *from = set->words + set->places[sequence] * set->planes;
    for (ptrdiff_t w = 0; w < words; w++)
        for (int p = 0; p < set->planes; p++) ((uint64_t *)(to + p * stride + w))[lane] = *from++;
}

/* Words of 64 letters in the longest sequence, and what bounds those of a band and of a window's way. */
static ptrdiff_t EDIT_NAME(span)(const edit_set *set) { return 5 * (set->longest / 64 + 1) + 8; }

static void EDIT_NAME(divide)(EDIT_NAME(group) *group, const edit_set *set, void *memory, int seconds) {
    const ptrdiff_t span = EDIT_NAME(span)(set);
    group->age = 0;
    memset(group->found, 0, sizeof group->found);
    VECTOR *vectors = (VECTOR *)((char *)memory + (64 - (uintptr_t)memory % 64));
    group->up = vectors;
    group->down = group->up + span;
    group->mask = group->down + span;
    group->first = group->mask + span;
    group->second = group->first + EDIT_PLANES * span + seconds * span;
}

static size_t EDIT_NAME(edit_memory)(const edit_set *set) {
    const ptrdiff_t letters = (ptrdiff_t)1 << set->planes;
    return (size_t)((3 + 2 * EDIT_PLANES + letters) * EDIT_NAME(span)(set)) * sizeof(VECTOR);
}

/* The items of a call, sorted; those that need a wider band go to call->later. */
static void EDIT_NAME(edit_items)(edit_call *call) {
    const edit_set *set = call->set;
    const uint64_t *order = edit_sort(call);
    EDIT_NAME(group) group;
    EDIT_NAME(divide)(&group, set, call->vectors, 0);
    for (ptrdiff_t start = 0; start < call->count; start += EDIT_LANES) {
        const int lanes = (int)smaller(EDIT_LANES, call->count - start);
        const edit_item *items[EDIT_LANES];
        int64_t words = 1;
        group.columns = 0;
        for (int lane = 0; lane < EDIT_LANES; lane++) {
            const edit_item *item = items[lane] = &call->items[order[start + (lane < lanes ? lane : 0)] & UINT16_MAX];
            const int64_t first = set->lengths[item->first], second = set->lengths[item->second];
            group.gap[lane] = second - first;
            group.longer[lane] = second;
            group.columns = larger(group.columns, first);
            words = larger(words, item->words);
        }
        EDIT_NAME(place)(&group, call, words);
        const ptrdiff_t before = (group.below + 63) / 64, last = (group.phase + group.columns) / 64;
        const ptrdiff_t firsts = last + 1, seconds = last + group.words + 2;
        group.first_stride = firsts;
        group.second_stride = seconds;
        memset(group.first, 0, (size_t)(firsts * set->planes) * sizeof(VECTOR));
        memset(group.second, 0, (size_t)(seconds * set->planes) * sizeof(VECTOR));
        for (int lane = 0; lane < EDIT_LANES; lane++) {
            EDIT_NAME(lay)(set, items[lane]->first, group.first, lane, firsts, firsts);
            EDIT_NAME(lay)(set, items[lane]->second, group.second + before, lane, seconds, seconds - before);
        }
        for (int p = 0; p < set->planes; p++) {
            VECTOR *const first = group.first + p * firsts;
            for (ptrdiff_t q = last; q >= 0; q--) {
                if (group.phase) first[q] <<= group.phase;
                if (group.phase && q > 0) first[q] |= first[q - 1] >> (64 - group.phase);
                first[q] = ~first[q];
            }
        }
        if (set->planes == 2)
            EDIT_NAME(band_2)(&group);
        else if (set->planes == 3)
            EDIT_NAME(band_3)(&group);
        else
            EDIT_NAME(band_5)(&group);
        edit_learn(call, group.found[0], group.longer[0]);
        for (int lane = 0; lane < lanes; lane++) {
            if (EDIT_NAME(settle)(&group, lane, call->cutoff, items[lane]->to, items[lane]->mirror)) continue;
            call->later[call->later_count] = *items[lane];
            call->later[call->later_count++].words = 2 * group.words;
        }
    }
}

/* Vectors of equal letters of EDIT_LANES sequences, zeros before and after. */
static void EDIT_NAME(equal_letters)(const edit_set *set, const int64_t *sequences, VECTOR *to, VECTOR *scratch) {
    const ptrdiff_t span = EDIT_NAME(span)(set), before = 2 * (set->longest / 64 + 1) + 2;
    ptrdiff_t words = 0;
    for (int lane = 0; lane < EDIT_LANES; lane++) words = larger(words, (set->lengths[sequences[lane]] + 63) / 64);
    memset(scratch, 0, (size_t)(words * set->planes) * sizeof(VECTOR));
    for (int lane = 0; lane < EDIT_LANES; lane++) EDIT_NAME(lay)(set, sequences[lane], scratch, lane, words, words);
    for (ptrdiff_t w = 0; w < words; w++) {
        VECTOR inside;
        for (int lane = 0; lane < EDIT_LANES; lane++) {
            const int64_t letters = set->lengths[sequences[lane]] - 64 * w;
            ((uint64_t *)&inside)[lane] = letters >= 64 ? ~(uint64_t)0 : letters <= 0 ? 0 : ~(uint64_t)0 >> (64 - letters);
        }
        for (int letter = 0; letter < 1 << set->planes; letter++) {
            VECTOR equal = inside;
            for (int p = 0; p < set->planes; p++)
                equal &= letter >> p & 1 ? scratch[p * words + w] : ~scratch[p * words + w];
            to[letter * span + before + w] = equal;
        }
    }
    for (int letter = 0; letter < 1 << set->planes; letter++) {
        memset(to + letter * span, 0, (size_t)before * sizeof(VECTOR));
        memset(to + letter * span + before + words, 0, (size_t)(span - before - words) * sizeof(VECTOR));
    }
}

static void EDIT_NAME(edit_block_rows)(edit_call *call, const edit_block *block) {
    const edit_set *set = call->set;
    const ptrdiff_t before = 2 * (set->longest / 64 + 1) + 2;
    EDIT_NAME(group) group;
    EDIT_NAME(divide)(&group, set, call->vectors, EDIT_PLANES);
    VECTOR *const equal = group.second;
    group.second_stride = EDIT_NAME(span)(set);
    for (ptrdiff_t start = 0; start < block->column_count; start += EDIT_LANES) {
        const int lanes = (int)smaller(EDIT_LANES, block->column_count - start);
        int64_t seconds[EDIT_LANES], lengths[EDIT_LANES];
        for (int lane = 0; lane < EDIT_LANES; lane++) {
            seconds[lane] = block->columns[start + (lane < lanes ? lane : 0)];
            lengths[lane] = set->lengths[seconds[lane]];
        }
        EDIT_NAME(equal_letters)(set, seconds, equal, group.first);
        const ptrdiff_t last_place = block->triangle + start + lanes - 1;
        const ptrdiff_t rows = block->triangle < 0 ? block->row_count : last_place;
        for (ptrdiff_t row = 0; row < rows; row++) {
            const int64_t first = block->rows[row];
            group.columns = set->lengths[first];
            int64_t nearest = INT64_MAX;
            for (int lane = 0; lane < EDIT_LANES; lane++) {
                group.gap[lane] = lengths[lane] - group.columns;
                group.longer[lane] = larger(lengths[lane], group.columns);
                nearest = smaller(nearest, larger(group.gap[lane], -group.gap[lane]));
            }
            EDIT_NAME(place)(&group, call, 1);
            if (nearest <= call->cutoff) {
                group.letters = set->codes + 64 * set->places[first];
                group.second = equal + before - (group.below + 63) / 64;
                EDIT_NAME(band_0)(&group);
                edit_learn(call, group.found[0], group.longer[0]);
            }
            for (int lane = 0; lane < lanes; lane++) {
                if (block->triangle >= 0 && block->triangle + start + lane <= row) continue;
                const int64_t second = seconds[lane], i = block->row_to[row], j = block->column_to[start + lane];
                int32_t *const to = block->out + i * block->stride + j;
                int32_t *const mirror = block->triangle < 0 ? NULL : block->out + j * block->stride + i;
                if (EDIT_NAME(settle)(&group, lane, call->cutoff, to, mirror)) continue;
                const int swap = group.gap[lane] < 0;
                const edit_item item = {swap ? second : first, swap ? first : second, to, mirror, 2 * group.words};
                call->items[call->count++] = item;
            }
            if (call->count > call->room - EDIT_LANES) {
                edit_finish(call);
                group.age = 0; /* it has written over the mask */
            }
        }
    }
}

#undef VECTOR
#undef ALL
#undef X86
#undef M
#undef TERNARY
#undef SPREAD
#undef RIGHT
#undef LEFT
#undef SHORT_LEFT
#undef WINDOW
#undef BESIDE
#undef AND_XOR
#undef XOR_OR
#undef OR_WITHOUT
#undef OR_NOT
#undef BITS
#undef EDIT_BANDS
#undef EDIT_LANES
#undef EDIT_NAME
