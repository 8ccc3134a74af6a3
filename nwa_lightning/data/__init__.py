"""Batches of sequence pairs as tensors, and the DataModule that makes them."""
