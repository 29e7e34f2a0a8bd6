"""Training losses: the transducer, and a softmax over sampled words."""
