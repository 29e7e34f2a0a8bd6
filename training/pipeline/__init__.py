"""Runs from start to end: train, retrain, search, series of runs and dry runs."""
