/* Which of many sequences share the most k-mers with a query: the C interface. kmer_index.c explains it. */
#ifndef KMER_INDEX_H
#define KMER_INDEX_H

#include <stddef.h>
#include <stdint.h>

/* The most k-mers of a query that are counted: counters have 16 bits, and a target may have a k-mer in all three bins. */
#define KMER_MOST 21845

/* Sequences. */
typedef struct {
    const uint8_t *flat;
    const int64_t *starts;
    const int64_t *lengths;
    ptrdiff_t count;
    int k;          /* letters of a k-mer */
    int shift;      /* a bin is 2^shift positions */
    ptrdiff_t bins; /* bins of the longest target */
} kmer_reads;

/* Queries, and an index of targets. */
typedef struct {
    kmer_reads queries;
    const int64_t *ends; /* (4^k bins + 1,) where the targets of each row begin: row m bins + b is k-mer m in bin b */
    const int32_t *targets;
    ptrdiff_t target_count;
    ptrdiff_t most;
    int32_t *found; /* (count, most) targets with the most shared k-mers, best first; of equal ones the first; -1 for none */
    int32_t *left;  /* (count,) no other target has more of them than that */
} kmer_search;

/* All are re-entrant, serial, and need no interpreter lock. Nothing is checked. All return 0, or -1 if memory ran out. */

/* Writes the number of each sequence at places[r], and increases that, for every row r in which it is, once per sequence.
 * With targets NULL, counts instead: adds 1 to places[r + 1]. */
int kmer_fill(const kmer_reads *reads, int64_t *places, int32_t *targets);

int kmer_nearest(const kmer_search *search);

#endif
