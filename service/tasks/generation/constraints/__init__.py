"""Constrained generation: regular expressions, choices and banned words as a mask over the tokens of each step."""
