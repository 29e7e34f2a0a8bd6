"""Beam search over the outputs of CTC: a language model, word lists, boosted phrases; and keyword spotting."""
