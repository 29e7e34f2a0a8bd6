"""The `unroll` command line."""
