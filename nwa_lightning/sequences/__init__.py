"""Sequences without torch: letters and codes, collections, files, sets by name, simulated sets."""
