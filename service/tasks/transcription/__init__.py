"""Speech recognition: the log-probabilities of an encoder to utterances of text, whole or while the sound comes."""
