/* Needleman-Wunsch scores of any substitution matrix, with linear or affine gaps: the C interface. nw_scan.c explains it. */
#ifndef NW_SCAN_H
#define NW_SCAN_H

#include <stddef.h>
#include <stdint.h>

/* One call's worth of work. Sizes and scores have been checked by the caller: no index is out of range, and no score leaves
 * int32, nor does one less the gaps of both prefixes (nw_scan.c). */
typedef struct {
    const uint8_t *flat;    /* codes of all sequences */
    const int64_t *starts;  /* (sequences,) */
    const int64_t *lengths; /* (sequences,), each <= longest */
    const int64_t *pairs;   /* (count, 2) sequences: first = rows of the matrix, second = columns */
    const uint8_t *ranks;   /* (256,) number of each code that occurs, below letters */
    const int32_t *table;   /* (letters, letters) score of each letter of a first beside each of a second sequence */
    int32_t *out;           /* (count,) scores, or (count, side, side) cells; only a pair's own cells are written */
    ptrdiff_t letters;
    ptrdiff_t longest;
    ptrdiff_t count;
    ptrdiff_t stride;   /* of the cells that are written; 0: scores only */
    ptrdiff_t side;     /* longest / stride + 1 or more */
    int32_t gap_open;   /* score of the first letter of a gap, at most gap_extend */
    int32_t gap_extend; /* score of each other one, at most 0 */
    int through;        /* linear gaps only. 0: scores of prefixes; 1: of the best whole alignment through each cell */
} scan_batch;

/* Fills batch->out. Re-entrant, serial, and needs no interpreter lock. Returns 0, or -1 if memory ran out. */
int nw_scan(const scan_batch *batch);

/* Makes nw_scan use the index-th instruction set of nw_fill.h from now on. Must not run at the same time as nw_scan. */
void scan_use(int index);

#endif
