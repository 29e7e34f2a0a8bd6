"""Experiments on encoder-decoder networks: attention, soft and hard, and what they compose."""
