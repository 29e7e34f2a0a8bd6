"""Output constrained by a context-free grammar: the parse table, the stacks of hypotheses, and words as terminals."""
