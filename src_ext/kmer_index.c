/* Which of many sequences share the most k-mers with a query.
 *
 * The index is a table of all k-mers by the bin of their position, with the numbers of the sequences that have each of them there,
 * every sequence once. A query goes through its k-mers, each in its own bin and in the two beside it, and counts. So what is shared
 * by chance at other positions is not even read.
 *
 * Two bits of a letter are used. Sequences of more than four letters share k-mers that are not equal: counts may be too large but
 * never too small. So the bound of Ukkonen (1992, doi 10.1016/0304-3975(92)90143-4) holds: an edit changes at most k of the
 * k-mers of a query, so that a target at distance d has all but k d of them, and moves them by at most d positions. If a bin has as
 * many positions, a target that has fewer of them is farther away. */

#include "kmer_index.h"

#include <stdlib.h>
#include <string.h>

/* A target is noted when this many k-mers are shared: most targets that share one k-mer do so by chance. */
#define NOTED 2

typedef struct {
    int64_t first, end;
} kmer_range;

static int64_t kmers_of(int64_t length, int k) { return length < k ? 0 : length - k + 1; }

static int64_t mask_of(int k) { return ((int64_t)1 << 2 * k) - 1; }

static int64_t first_letters(const uint8_t *letters, int k) {
    int64_t kmer = 0;
    for (int i = 0; i < k; i++) kmer = kmer << 2 | (letters[i] & 3);
    return kmer;
}

int kmer_fill(const kmer_reads *reads, int64_t *places, int32_t *targets) {
    const int k = reads->k;
    const int64_t mask = mask_of(k);
    /* The last sequence, counted from 1, in each row. */
    int32_t *last = calloc((mask + 1) * reads->bins, sizeof *last);
    if (!last) return -1;
    for (ptrdiff_t i = 0; i < reads->count; i++) {
        const uint8_t *letters = reads->flat + reads->starts[i];
        const int64_t count = kmers_of(reads->lengths[i], k);
        int64_t kmer = count ? first_letters(letters, k - 1) : 0;
        for (int64_t j = 0; j < count; j++) {
            kmer = (kmer << 2 | (letters[j + k - 1] & 3)) & mask;
            const int64_t row = kmer * reads->bins + (j >> reads->shift);
            if (last[row] == i + 1) continue;
            last[row] = (int32_t)(i + 1);
            if (targets)
                targets[places[row]++] = (int32_t)i;
            else
                places[row + 1]++;
        }
    }
    free(last);
    return 0;
}

/* The best so far, as keys that sort by count and then by number. */
typedef struct {
    uint64_t *keys; /* (most,) largest first */
    ptrdiff_t most;
    ptrdiff_t filled;
    uint64_t left; /* the largest that was left out */
} kmer_best;

static void offer(kmer_best *best, uint64_t key) {
    if (best->filled == best->most) {
        uint64_t last = best->keys[best->most - 1];
        uint64_t out = key < last ? key : last;
        if (out > best->left) best->left = out;
        if (key < last) return;
        best->filled--;
    }
    ptrdiff_t place = best->filled++;
    for (; place && best->keys[place - 1] < key; place--) best->keys[place] = best->keys[place - 1];
    best->keys[place] = key;
}

/* Where the targets of each k-mer of a query are; returns how many k-mers it has, and how many targets there are. */
static int64_t ranges_of(const kmer_search *search, ptrdiff_t query, kmer_range *ranges, int64_t *total) {
    const kmer_reads *reads = &search->queries;
    const int k = reads->k;
    const int64_t mask = mask_of(k);
    const uint8_t *letters = reads->flat + reads->starts[query];
    int64_t count = kmers_of(reads->lengths[query], k);
    if (count > KMER_MOST) count = KMER_MOST;
    int64_t kmer = count ? first_letters(letters, k - 1) : 0;
    *total = 0;
    for (int64_t j = 0; j < count; j++) {
        kmer = (kmer << 2 | (letters[j + k - 1] & 3)) & mask;
        const int64_t bin = j >> reads->shift;
        int64_t first = bin ? bin - 1 : 0, end = bin + 2;
        if (end > reads->bins) end = reads->bins;
        if (first > end) first = end;
        ranges[j] = (kmer_range){search->ends[kmer * reads->bins + first], search->ends[kmer * reads->bins + end]};
        __builtin_prefetch(search->targets + ranges[j].first);
        *total += ranges[j].end - ranges[j].first;
    }
    return count;
}

int kmer_nearest(const kmer_search *search) {
    const ptrdiff_t most = search->most;
    uint16_t *counts = calloc(search->target_count + 1, sizeof *counts);
    /* One more than there are targets: the next place is written before it is known whether it is needed. */
    int32_t *noted = malloc((search->target_count + 1) * sizeof *noted);
    kmer_range *ranges = malloc(KMER_MOST * sizeof *ranges);
    uint64_t *keys = malloc((most + 1) * sizeof *keys);
    const int failed = !counts || !noted || !ranges || !keys;
    for (ptrdiff_t query = 0; !failed && query < search->queries.count; query++) {
        int64_t total;
        const int64_t kmers = ranges_of(search, query, ranges, &total);
        ptrdiff_t note = 0;
        for (int64_t j = 0; j < kmers; j++)
            for (int64_t place = ranges[j].first; place < ranges[j].end; place++) {
                const int32_t target = search->targets[place];
                noted[note] = target;
                note += ++counts[target] == NOTED;
            }
        kmer_best best = {keys, most, 0, 0};
        for (ptrdiff_t i = 0; i < note; i++)
            offer(&best, (uint64_t)counts[noted[i]] << 32 | (UINT32_MAX - (uint32_t)noted[i]));
        for (ptrdiff_t i = 0; i < most; i++)
            search->found[query * most + i] = i < best.filled ? (int32_t)(UINT32_MAX - (uint32_t)keys[i]) : -1;
        const int32_t left = (int32_t)(best.left >> 32);
        search->left[query] = left < NOTED ? NOTED - 1 : left;
        /* Few counters are cleared one by one, many at once. */
        if (total < search->target_count / 16)
            for (int64_t j = 0; j < kmers; j++)
                for (int64_t place = ranges[j].first; place < ranges[j].end; place++) counts[search->targets[place]] = 0;
        else
            memset(counts, 0, search->target_count * sizeof *counts);
    }
    free(counts);
    free(noted);
    free(ranges);
    free(keys);
    return failed ? -1 : 0;
}
