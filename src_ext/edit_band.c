/* Edit distances of many pairs: Myers' bit vectors in a band that slides along the diagonal, one pair a lane.
 *
 * A column of the table of distances is kept as its vertical differences, +1 in one bit vector and -1 in another (Myers
 * 1999; the form for words that follow one another is that of Hyyro 2003). Here bit b stands for a diagonal, not for a row:
 * from a column to the next the vectors move down by a row, so W words of 64 bits follow 64 W diagonals at the cost of W
 * words a column, however long the sequences are.
 *
 * How wide a band has to be (Ukkonen 1985): with lengths that differ by g, an alignment that leaves the diagonals between
 * 0 and g by more than x has more than g + 2 x + 1 edits. A band with x diagonals to spare on both sides finds the length of
 * some alignment, so a length up to g + 2 x + 2 is the distance. A pair begins in a band as wide as similar pairs needed
 * recently; the few pairs of larger distance are collected and computed again in a wider one. Every result is exact.
 *
 * Layout: a lane is a pair and a word of 64 bits; 8 pairs (AVX-512 with VBMI2), 4 (AVX2), 2 (SSE2, NEON, any other) or 1 are
 * done side by side, without dependence between lanes. Pairs of similar lengths are sorted together. The differences that
 * remain do no harm: a common suffix of zeros changes no distance, so a shorter pair runs as long as its neighbours.
 *
 * Equal letters are found in one of two ways. Listed pairs: letters are bit planes (2 for four letters), those of
 * the second sequence lie in the window of the band, that of the first is spread over the word; a few exclusive ors do it,
 * and there is no table to make or to gather from. Blocks: one first sequence against as many second ones as there are lanes,
 * whose vectors of equal letters are made once per letter, and lie in the first cache.
 *
 * The last diagonal's cells are summed up as the band moves; the wanted cell follows from the last column's differences. At
 * regular intervals, the latest cell of its diagonal follows in the same way. Distances never fall along a diagonal, so once
 * all lanes are beyond what the band or the cutoff allows, the rest is skipped.
 */
#include "edit_band.h"

#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__) && defined(__x86_64__)
#define EDIT_X86 1
#include <immintrin.h>
#endif

#ifdef __GNUC__
#define EDIT_INLINE static inline __attribute__((always_inline))
#else
#define EDIT_INLINE static inline
#endif

#if defined(__clang__)
#define EDIT_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define EDIT_UNROLL _Pragma("GCC unroll 8")
#else
#define EDIT_UNROLL
#endif

/* Pairs that are sorted and done together; fractions are counted in parts of EDIT_ONE; rows of a block, or groups, after which
 * the width of the band is thought over. */
enum { EDIT_CHUNK = 4096, EDIT_ONE = 1024, EDIT_AGE = 16 };

/* A pair to do. The second sequence of a block's pair is its column's, of a listed one's the longer. */
typedef struct {
    int64_t first;
    int64_t second;
    int32_t *to;
    int32_t *mirror; /* NULL: none */
    int64_t words;   /* a narrower band is known to be too narrow */
} edit_item;

/* The data of a call. */
typedef struct {
    const edit_set *set;
    int64_t cutoff;
    int64_t typical; /* two thirds of the latest distances were below this many EDIT_ONE-ths of the longer length */
    int64_t learned; /* distances so far */
    edit_item *items;
    edit_item *later; /* items that need a wider band */
    uint64_t *keys;
    uint64_t *more_keys;
    ptrdiff_t count;       /* of items */
    ptrdiff_t later_count;
    ptrdiff_t room; /* for either */
    void *vectors;
} edit_call;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* Orders the items by band, difference and length: keys hold that, and the item's number in the lowest 16 bits. */
static const uint64_t *edit_sort(const edit_call *call) {
    uint64_t *keys = call->keys, *other = call->more_keys, all = 0, any = 0;
    int shift = 0;
    while (call->set->longest >> shift > UINT16_MAX) shift++;
    for (ptrdiff_t k = 0; k < call->count; k++) {
        const edit_item *item = &call->items[k];
        const int64_t first = call->set->lengths[item->first], second = call->set->lengths[item->second];
        const uint64_t gap = (uint64_t)(second > first ? second - first : first - second) >> shift;
        keys[k] = (uint64_t)smaller(item->words, 4095) << 52 | gap / 8 << 36 | (uint64_t)(first >> shift) << 16 | (uint64_t)k;
        all = k == 0 ? keys[0] : all & keys[k];
        any |= keys[k];
    }
    for (int digit = 16; digit < 64; digit += 8) {
        if (((all ^ any) >> digit & 255) == 0) continue;
        ptrdiff_t places[257] = {0};
        for (ptrdiff_t k = 0; k < call->count; k++) places[(keys[k] >> digit & 255) + 1]++;
        for (int k = 0; k < 256; k++) places[k + 1] += places[k];
        for (ptrdiff_t k = 0; k < call->count; k++) other[places[keys[k] >> digit & 255]++] = keys[k];
        uint64_t *swap = keys;
        keys = other;
        other = swap;
    }
    return keys;
}

/* One distance of many is enough to learn from; the first ones move the fraction more. */
static void edit_learn(edit_call *call, int64_t distance, int64_t longest) {
    const int64_t step = EDIT_ONE / smaller(4 + call->learned++, 32);
    call->typical += distance * EDIT_ONE > call->typical * longest ? step : -step / 2;
}

static void edit_finish(edit_call *call);

/* One bit of each of 64 letters. */
static uint64_t edit_bits(const uint8_t *codes, int plane) {
    uint64_t word = 0;
#ifdef EDIT_X86
    for (int k = 0; k < 4; k++) {
        const __m128i letters = _mm_loadu_si128((const __m128i *)(codes + 16 * k));
        const __m128i at_top = _mm_sll_epi16(letters, _mm_cvtsi32_si128(7 - plane));
        word |= (uint64_t)(uint32_t)_mm_movemask_epi8(at_top) << (16 * k);
    }
#else
    for (int k = 0; k < 8; k++) {
        uint64_t eight = 0;
        for (int i = 0; i < 8; i++) eight |= (uint64_t)codes[8 * k + i] << (8 * i);
        /* The product moves bit 8 i to 56 + i. */
        word |= ((eight >> plane & 0x0101010101010101u) * 0x0102040810204080u >> 56) << (8 * k);
    }
#endif
    return word;
}

#ifdef __GNUC__

#define EDIT_LANES 2
#define EDIT_NAME(name) name##_2
#include "edit_band_lanes.h"

#ifdef EDIT_X86
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define EDIT_LANES 4
#define EDIT_NAME(name) name##_4
#include "edit_band_lanes.h"
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512vbmi2,avx512vpopcntdq"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vbmi2,avx512vpopcntdq")
#endif
#define EDIT_LANES 8
#define EDIT_NAME(name) name##_8
#include "edit_band_lanes.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif /* EDIT_X86 */

#endif /* __GNUC__ */

#define EDIT_LANES 1
#define EDIT_NAME(name) name##_1
#include "edit_band_lanes.h"

static int in_use = 0;

void edit_use(int index) { in_use = index; }

int edit_lanes(void) { return 1 << in_use; }

/* The kernel for the instruction set in use. */
#ifdef EDIT_X86
#define EDIT_CHOOSE(name, ...) \
    (in_use > 2   ? name##_8(__VA_ARGS__) \
     : in_use > 1 ? name##_4(__VA_ARGS__) \
     : in_use > 0 ? name##_2(__VA_ARGS__) \
                  : name##_1(__VA_ARGS__))
#elif defined(__GNUC__)
#define EDIT_CHOOSE(name, ...) (in_use > 0 ? name##_2(__VA_ARGS__) : name##_1(__VA_ARGS__))
#else
#define EDIT_CHOOSE(name, ...) name##_1(__VA_ARGS__)
#endif

#ifdef __GNUC__
typedef uint8_t edit_bytes __attribute__((vector_size(16), aligned(1), may_alias));

static int edit_all(edit_bytes yes) {
    uint64_t halves[2];
    memcpy(halves, &yes, sizeof halves);
    return (halves[0] & halves[1]) == ~(uint64_t)0;
}
#endif

void edit_seen(const uint8_t *flat, const int64_t *starts, const int64_t *lengths, ptrdiff_t count, uint8_t *seen) {
#ifdef __GNUC__
    edit_bytes known[8]; /* the first letters; 16 others are all among them, mostly */
    int letters = 0;
#endif
    for (ptrdiff_t i = 0; i < count; i++) {
        const uint8_t *from = flat + starts[i], *const end = from + lengths[i];
        while (from < end) {
            const uint8_t *stop = end;
#ifdef __GNUC__
            for (; end - from >= 16; from += 16) {
                edit_bytes found = {0};
                for (int k = 0; k < letters; k++) found |= (edit_bytes)(*(const edit_bytes *)from == known[k]);
                if (!edit_all(found)) break;
            }
            stop = from + smaller(16, end - from);
#endif
            for (; from < stop; from++) {
#ifdef __GNUC__
                if (!seen[*from] && letters < 8) known[letters++] = (edit_bytes){0} + *from;
#endif
                seen[*from] = 1;
            }
        }
    }
}

/* Codes of the letters, up to a whole number of 64 of them. */
static void edit_encode(const edit_letters *letters, const uint8_t *table, const uint8_t *from, int64_t length, uint8_t *to) {
    int64_t k = 0;
#ifdef __GNUC__
    for (; letters->letter_count <= 8 && length - k >= 16; k += 16) {
        const edit_bytes bytes = *(const edit_bytes *)(from + k);
        edit_bytes codes = {0};
        for (int code = 1; code < letters->letter_count; code++)
            codes |= (edit_bytes)(bytes == (edit_bytes){0} + letters->letters[code]) & (uint8_t)code;
        *(edit_bytes *)(to + k) = codes;
    }
#endif
    for (; k < length; k++) to[k] = table[from[k]];
    memset(to + length, 0, (size_t)((length + 63) / 64 * 64 - length));
}

void edit_pack(const edit_letters *letters) {
    uint8_t table[256] = {0};
    for (int code = 0; code < letters->letter_count; code++) table[letters->letters[code]] = (uint8_t)code;
    for (ptrdiff_t i = 0; i < letters->count; i++) {
        const int64_t length = letters->lengths[i], words = (length + 63) / 64;
        uint8_t *codes = letters->codes + 64 * letters->places[i];
        uint64_t *to = letters->words + letters->places[i] * letters->planes;
        edit_encode(letters, table, letters->flat + letters->starts[i], length, codes);
        for (int64_t w = 0; w < words; w++)
            for (int plane = 0; plane < letters->planes; plane++) *to++ = edit_bits(codes + 64 * w, plane);
    }
}

static void edit_release(edit_call *call) {
    free(call->items);
    free(call->vectors);
}

/* Memory for the items and the vectors. */
static int edit_prepare(edit_call *call, const edit_set *set, int32_t cutoff, ptrdiff_t items, size_t vectors) {
    call->set = set;
    call->cutoff = cutoff;
    call->typical = EDIT_ONE / 4;
    call->count = call->later_count = 0;
    call->learned = 0;
    call->room = smaller(items, EDIT_CHUNK);
    call->items = malloc((size_t)call->room * (2 * sizeof(edit_item) + 2 * sizeof(uint64_t)));
    call->vectors = malloc(vectors + 64);
    if (call->items == NULL || call->vectors == NULL) {
        edit_release(call);
        return -1;
    }
    call->later = call->items + call->room;
    call->keys = (uint64_t *)(call->later + call->room);
    call->more_keys = call->keys + call->room;
    return 0;
}

/* Does the items, and those that need a wider band until none is left. */
static void edit_finish(edit_call *call) {
    while (call->count > 0) {
        EDIT_CHOOSE(edit_items, call);
        edit_item *swap = call->items;
        call->items = call->later;
        call->later = swap;
        call->count = call->later_count;
        call->later_count = 0;
    }
}

int edit_pairs(const edit_listed *listed) {
    edit_call call;
    const edit_set *set = &listed->set;
    if (edit_prepare(&call, set, listed->cutoff, listed->count, EDIT_CHOOSE(edit_memory, set)) != 0) return -1;
    edit_item *memory = call.items;
    for (ptrdiff_t k = 0; k < listed->count; k++) {
        const int64_t a = listed->pairs[2 * k], b = listed->pairs[2 * k + 1];
        const int swap = set->lengths[a] > set->lengths[b];
        const int64_t first = swap ? b : a, second = swap ? a : b;
        if (set->lengths[second] - set->lengths[first] > listed->cutoff) {
            listed->out[k] = listed->cutoff + 1;
        } else {
            const edit_item item = {first, second, listed->out + k, NULL, 1};
            call.items[call.count++] = item;
        }
        if (call.count == call.room) edit_finish(&call);
    }
    edit_finish(&call);
    call.items = memory;
    edit_release(&call);
    return 0;
}

int edit_rows(const edit_block *block) {
    edit_call call;
    /* Each row and group of columns may add as many as there are lanes. */
    const ptrdiff_t most = block->row_count < EDIT_CHUNK ? block->row_count * (block->column_count + 8) : EDIT_CHUNK;
    if (edit_prepare(&call, &block->set, block->cutoff, most, EDIT_CHOOSE(edit_memory, &block->set)) != 0) return -1;
    edit_item *memory = call.items;
    EDIT_CHOOSE(edit_block_rows, &call, block);
    edit_finish(&call);
    call.items = memory;
    edit_release(&call);
    return 0;
}
