"""Reproducible experiments on what textbooks say about recurrent networks: `unroll experiment NAME`."""
