"""Measures of speech recognition: error rates of words and characters, and keyword spotting."""
