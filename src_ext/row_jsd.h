/* Jensen-Shannon divergence of attention maps and Needleman-Wunsch matrices: the C interface. See row_jsd.c. */
#ifndef ROW_JSD_H
#define ROW_JSD_H

#include <stddef.h>
#include <stdint.h>

/* One call's worth of work; all arrays are row-major. */
typedef struct {
    const float *logits;        /* (count, rows, columns) */
    const int16_t *scores;      /* (count, rows, columns) */
    const uint8_t *row_mask;    /* (count, rows), 0 where a row adds nothing; NULL: all count */
    const uint8_t *column_mask; /* (count, columns), 0 where the probability is 0; NULL: all count */
    float *divergence;          /* (count,), summed over rows, in nats */
    float *gradient;            /* (count, rows, columns), of divergence by logits; NULL: not wanted */
    ptrdiff_t count;
    ptrdiff_t rows;
    ptrdiff_t columns; /* at least 1 */
    float temperature; /* divides the scores */
} jsd_batch;

/* Fills divergence and gradient. Re-entrant, serial, needs no interpreter lock. Returns 0, or -1 if memory ran out. */
int row_jsd(const jsd_batch *batch);

/* Makes row_jsd use the index-th instruction set of nw_fill.h from now on. Must not run at the same time as row_jsd. */
void row_jsd_use(int index);

#endif
