"""What a published bundle can be given later: lemmas, the cutting of raw text, a grammar; its own graphs stay."""
