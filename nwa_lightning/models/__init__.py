"""Models of edit distance: distances, losses, metrics, baselines, export."""
