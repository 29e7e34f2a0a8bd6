"""What parsers learn beside trees: words, their parts of speech and lemmas."""
