"""From reads to answers: embeddings on disk, nearest reads, clusters, distance matrices, trees and maps."""
