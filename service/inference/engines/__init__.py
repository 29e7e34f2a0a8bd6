"""Bundles that are loaded, and the engines that answer requests with them."""
