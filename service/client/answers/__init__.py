"""Answers of the service as typed values: predictions, texts, and models."""
