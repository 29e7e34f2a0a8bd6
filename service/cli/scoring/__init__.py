"""`unroll score`, which scores files, and `unroll perplexity`, which scores texts by a language model."""
