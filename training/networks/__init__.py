"""The torch networks: one file for each, `NETWORKS` to find them by task."""
