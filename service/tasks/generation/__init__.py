"""Text generation: prompts, sampling, batches of sequences, and the detokenizer."""
