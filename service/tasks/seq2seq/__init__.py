"""Encoder-decoder tasks: translation and captioning, with beam search."""
