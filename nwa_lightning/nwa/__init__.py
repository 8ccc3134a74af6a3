"""Needleman-Wunsch Attention as an add-on: the loss, and the ways to attach it to a model."""
