/* Edit distances of many pairs of sequences: the C interface. edit_band.c explains it. */
#ifndef EDIT_BAND_H
#define EDIT_BAND_H

#include <stddef.h>
#include <stdint.h>

/* The most different letters, and the bit planes they take. */
#define EDIT_LETTERS 32
#define EDIT_PLANES 5

/* Sequences as edit_pack leaves them. Bit k of words[(places[i] + w) * planes + p] is bit p of the letter 64 w + k of
 * sequence i, which itself is codes[64 * places[i] + 64 w + k]; after the end of a sequence both are 0 up to its next one. */
typedef struct {
    const uint64_t *words;  /* (total, planes) */
    const uint8_t *codes;   /* (64 total,) */
    const int64_t *places;  /* (count,) first word of each sequence; it has (length + 63) / 64 of them */
    const int64_t *lengths; /* (count,) letters of each */
    ptrdiff_t longest;      /* letters of the longest */
    int planes;             /* 2 for up to 4 letters, 3 for up to 8, 5 for up to 32 */
} edit_set;

/* Listed pairs. */
typedef struct {
    edit_set set;
    const int64_t *pairs; /* (count, 2) numbers of sequences */
    int32_t *out;         /* (count,) */
    ptrdiff_t count;
    int32_t cutoff; /* at least 0; a larger distance is returned as cutoff + 1 */
} edit_listed;

/* All of some sequences against all of some others. */
typedef struct {
    edit_set set;
    const int64_t *rows;      /* (row_count,) numbers of sequences */
    const int64_t *columns;   /* (column_count,) the same; neighbours should have similar lengths */
    const int64_t *row_to;    /* (row_count,) where the results of each go: to out[row_to[i] * stride + column_to[j]] */
    const int64_t *column_to; /* (column_count,) */
    int32_t *out;
    ptrdiff_t row_count;
    ptrdiff_t column_count;
    ptrdiff_t stride;
    ptrdiff_t triangle; /* -1: all; else columns[0] is rows[triangle], and so on: only rows before a column, both halves */
    int32_t cutoff;
} edit_block;

/* All are re-entrant, serial, and need no interpreter lock. Nothing is checked. */

/* Sets seen[letter] for every letter of count sequences; before, it is 0 for all of them. */
void edit_seen(const uint8_t *flat, const int64_t *starts, const int64_t *lengths, ptrdiff_t count, uint8_t *seen);

/* Letters of count sequences, and what edit_pack makes of them. */
typedef struct {
    const uint8_t *flat;
    const int64_t *starts;
    const int64_t *lengths;
    const int64_t *places; /* as in edit_set, whose words and codes are written */
    const uint8_t *letters; /* (letter_count,) those that there are, in the order of their codes */
    uint64_t *words;
    uint8_t *codes;
    ptrdiff_t count;
    int letter_count;
    int planes;
} edit_letters;

void edit_pack(const edit_letters *letters);

/* Both return 0, or -1 if memory ran out. */
int edit_pairs(const edit_listed *listed);
int edit_rows(const edit_block *block);

/* Makes them use the index-th instruction set of nw_fill.h from now on. Must not run at the same time as a call. */
void edit_use(int index);

/* Number of pairs that the instruction set in use handles at once. */
int edit_lanes(void);

#endif
