"""Fine-tuning: a run that starts from a published bundle or from an earlier run, and what it gains and forgets."""
