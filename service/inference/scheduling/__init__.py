"""Lanes, dynamic batching and continuous batching: who runs when, and together with whom."""
