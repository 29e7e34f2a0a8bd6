"""What a run starts from or carries that was trained before: word vectors, character models, a language model."""
