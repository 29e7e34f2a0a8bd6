"""From records to batches of tensors: vocabularies, scales, windows and batching."""
