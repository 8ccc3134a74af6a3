/* Soft alignment of reads with templates of letter weights: the C interface. See soft_align.c. */
#ifndef SOFT_ALIGN_H
#define SOFT_ALIGN_H

#include <stddef.h>
#include <stdint.h>

/* One call's worth of work; all arrays are row-major. A slice of a read is what a template is aligned with. */
typedef struct {
    const uint8_t *codes;        /* (reads, width), below letters as far as a read goes */
    const int32_t *lengths;      /* (reads,), each at most width */
    const float *weights;        /* (templates, letters, positions) */
    const float *gaps;           /* (templates,), what one gap costs */
    int32_t *starts;             /* (templates, reads), of slices; NULL: slices are whole reads */
    int32_t *ends;               /* (templates, reads), one past the last letter of slices */
    float *scores;               /* (templates, reads) */
    const float *score_gradient; /* (templates, reads) */
    float *weight_gradient;      /* (templates, letters, positions) */
    float *gap_gradient;         /* (templates,) */
    ptrdiff_t reads;
    ptrdiff_t width;
    ptrdiff_t templates;
    ptrdiff_t letters;   /* at least 1 */
    ptrdiff_t positions; /* of a template, at least 1 */
    float gamma;         /* of the soft maximum */
} soft_batch;

/* Each is re-entrant, serial, needs no interpreter lock, and returns 0, or -1 if memory ran out. */

/* Writes to starts and ends the slices that the best semi-global alignments take. */
int soft_slices(const soft_batch *batch);

/* Writes the scores of slices. */
int soft_scores(const soft_batch *batch);

/* Writes weight_gradient and gap_gradient, those of the sum of scores times score_gradient. */
int soft_gradients(const soft_batch *batch);

/* Makes them use the index-th instruction set of nw_fill.h from now on. Must not run at the same time as a call. */
void soft_use(int index);

#endif
