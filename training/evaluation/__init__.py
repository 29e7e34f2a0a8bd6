"""Scores of trained models: metrics, the dev scorer, baselines and error analysis."""
