"""Input layers: features of words, characters, signals and images."""
