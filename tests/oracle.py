"""Slow, obviously right versions of what the package computes; tests compare with them."""

import math

import numpy as np


def nw_matrix(first, second, match=1, mismatch=-1, gap=-1):
    """The recurrence, cell by cell: ``(len(first) + 1, len(second) + 1)`` int64."""
    scores = np.zeros((len(first) + 1, len(second) + 1), dtype=np.int64)
    for i in range(len(first) + 1):
        for j in range(len(second) + 1):
            ways = []
            if i and j:
                ways.append(scores[i - 1, j - 1] + (match if first[i - 1] == second[j - 1] else mismatch))
            if i:
                ways.append(scores[i - 1, j] + gap)
            if j:
                ways.append(scores[i, j - 1] + gap)
            scores[i, j] = max(ways, default=0)
    return scores


def nw_through(first, second, match=1, mismatch=-1, gap=-1):
    """Best score of an alignment through each cell: prefixes plus suffixes, the latter as prefixes read backwards."""
    suffixes = nw_matrix(first[::-1], second[::-1], match, mismatch, gap)[::-1, ::-1]
    return nw_matrix(first, second, match, mismatch, gap) + suffixes


def nw_matrices(codes, lengths, pairs, match=1, mismatch=-1, gap=-1, kind="prefix"):
    """One matrix a pair, 0 outside of its own block: ``(P, n + 1, n + 1)`` int64."""
    one = {"prefix": nw_matrix, "best_through": nw_through}[kind]
    size = np.shape(codes)[1] + 1
    out = np.zeros((len(pairs), size, size), dtype=np.int64)
    for matrix, (first, second) in zip(out, pairs, strict=True):
        a, b = codes[first][: lengths[first]].tolist(), codes[second][: lengths[second]].tolist()
        matrix[: len(a) + 1, : len(b) + 1] = one(a, b, match, mismatch, gap)
    return out


def gotoh(first, second, scores, gap_open, gap_extend):
    """Global alignment with affine gaps, every gap of every length tried in every cell: int64 (Python integers inside)."""
    gap = [0] + [gap_open + length * gap_extend for length in range(max(len(first), len(second)))]
    table = []
    for i in range(len(first) + 1):
        row = []
        for j in range(len(second) + 1):
            ways = [table[i - k][j] + gap[k] for k in range(1, i + 1)] + [row[j - k] + gap[k] for k in range(1, j + 1)]
            if i and j:
                ways.append(table[i - 1][j - 1] + int(scores[first[i - 1]][second[j - 1]]))
            row.append(max(ways, default=0))
        table.append(row)
    return np.array(table, dtype=np.int64)


def strided(codes, lengths, pairs, scores, gap_open, gap_extend, stride=1, kind="prefix"):
    """Every s-th cell of one matrix a pair, 0 outside of its own block."""
    size = np.shape(codes)[1] // stride + 1
    out = np.zeros((len(pairs), size, size), dtype=np.int64)
    for cells, (first, second) in zip(out, pairs, strict=True):
        a, b = codes[first][: lengths[first]].tolist(), codes[second][: lengths[second]].tolist()
        whole = gotoh(a, b, scores, gap_open, gap_extend)
        if kind == "best_through":
            whole = whole + gotoh(a[::-1], b[::-1], scores, gap_open, gap_extend)[::-1, ::-1]
        kept = whole[::stride, ::stride]
        cells[: kept.shape[0], : kept.shape[1]] = kept
    return out


def row_softmax(values):
    """Softmax over the last axis, in float64."""
    values = np.asarray(values, dtype=np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def row_jsd(logits, scores, row_mask, column_mask, temperature):
    """Jensen-Shannon divergence summed over rows, cell by cell in float64: (P,)."""
    totals = []
    for pair in range(len(logits)):
        total = 0.0
        for row in range(logits.shape[1]):
            columns = np.flatnonzero(column_mask[pair])
            if not row_mask[pair, row] or len(columns) == 0:
                continue
            one = row_softmax(logits[pair, row, columns])
            two = row_softmax(np.asarray(scores[pair, row, columns], dtype=np.float64) / temperature)
            for p, q in zip(one, two, strict=True):
                total += 0.5 * p * math.log(2 * p / (p + q)) if p > 0 else 0.0
                total += 0.5 * q * math.log(2 * q / (p + q)) if q > 0 else 0.0
        totals.append(total)
    return np.array(totals)


def edit_distance(a, b):
    """Unit-cost edit distance."""
    return -int(nw_matrix(a, b, 0, -1, -1)[-1, -1])


def soft_nw(codes, weights, gap, gamma):
    """Soft score of a sequence against weights ``(letters, positions)``, cell by cell; the best score for gamma 0."""
    positions = np.shape(weights)[1]
    scores = np.zeros((positions + 1, len(codes) + 1))
    for i in range(positions + 1):
        for j in range(len(codes) + 1):
            ways = []
            if i and j:
                ways.append(scores[i - 1, j - 1] + weights[codes[j - 1]][i - 1])
            if i:
                ways.append(scores[i - 1, j] - gap)
            if j:
                ways.append(scores[i, j - 1] - gap)
            if ways:
                top = max(ways)
                scores[i, j] = (
                    top + gamma * math.log(sum(math.exp((way - top) / gamma) for way in ways)) if gamma else top
                )
    return scores[-1, -1]
