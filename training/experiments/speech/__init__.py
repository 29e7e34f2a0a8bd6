"""Experiments on speech recognition, with connected digits."""
