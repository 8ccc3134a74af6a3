"""Simulated sequences: errors of a channel, the leaves of a tree, strands of DNA storage."""
