"""Loaded bundles, their registry, and the engines that answer requests with them."""
