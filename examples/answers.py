"""From reads to answers: the nearest known read, clusters, and a tree: python examples/answers.py.

The model in the box finds candidates; exact edit distances decide. Your own model works as well: ReadEmbedder(your_model).
"""

import argparse

import numpy as np

from nwa_lightning import Index, ReadEmbedder, load_pretrained, load_sequences
from nwa_lightning.search.clusters import greedy_clusters
from nwa_lightning.search.distance_matrix import distances_of
from nwa_lightning.search.limits import Limit
from nwa_lightning.search.reads import distinct_reads
from nwa_lightning.search.trees import build_tree, newick


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reads", type=int, default=2000)
    count = parser.parse_args().reads
    reads = load_sequences("human16s")
    known, queries = reads.take(np.arange(count)), reads.take(np.arange(count, count + 100))

    index = Index.build(known, ReadEmbedder(load_pretrained("human16s-v4")))
    found = index.search(queries, identity=0.9, recall=0.99)
    exact = index.search(queries, identity=0.9, exact=True)
    same = np.intersect1d(
        found.hits.query * len(reads) + found.hits.edits, exact.hits.query * len(reads) + exact.hits.edits
    )
    print(f"{len(exact.hits)} of 100 queries have a known read of 90 % identity; the index found {len(same)} of them")

    clusters = greedy_clusters(distinct_reads(known).reads, Limit(identity=0.97))
    print(f"{count} reads make {len(clusters)} clusters at 97 %, the largest of {clusters.sizes.max()}")

    centroids = known.take(clusters.centroids[np.argsort(-clusters.sizes)[:8]])
    tree = build_tree(distances_of(centroids), "upgma")
    print(newick(tree, centroids.names))


if __name__ == "__main__":
    main()
