/* Needleman-Wunsch matrices of many pairs of sequences: the C interface. nw_fill.c explains it. */
#ifndef NW_FILL_H
#define NW_FILL_H

#include <stddef.h>
#include <stdint.h>

/* One call's worth of work. Sizes and scores have been checked by the caller: no index is out of range, and no score of
 * a table leaves int16. */
typedef struct {
    const uint8_t *codes;   /* (sequences, width), row-major */
    const int64_t *lengths; /* (sequences,), each <= width */
    const int64_t *pairs;   /* (count, 2) rows of codes: first = rows of the matrix, second = columns */
    int16_t *out;           /* (count, width + 1, width + 1), row-major; every cell is written */
    ptrdiff_t width;
    ptrdiff_t count;
    int32_t match;
    int32_t mismatch;
    int32_t gap;
    int through; /* 0: scores of prefixes; 1: scores of the best whole alignment through each cell */
} nw_batch;

/* Fills batch->out. Re-entrant, serial, and needs no interpreter lock. Returns 0, or -1 if memory ran out. */
int nw_fill(const nw_batch *batch);

/* The name of the index-th instruction set that this processor can run, slowest first; NULL past the last. */
const char *nw_instruction_set(int index);

/* Makes nw_fill use the index-th instruction set from now on. Must not run at the same time as nw_fill. */
void nw_use(int index);

#endif
