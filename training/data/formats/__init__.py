"""File formats of labelled data, and what can be wrong with a file."""
