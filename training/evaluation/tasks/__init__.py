"""The half of each task that needs no torch: loading, scores, baselines, error analysis and card texts."""
