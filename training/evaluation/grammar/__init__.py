"""Grammars of target texts: which records do not parse, and which share of answers does."""
