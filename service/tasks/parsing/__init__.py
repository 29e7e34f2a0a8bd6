"""Dependency parsing: a tree over the words of a sentence, its relations, and its text form CoNLL-U."""
