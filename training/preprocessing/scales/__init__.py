"""Means and deviations by which inputs are brought to a common range: of series of numbers, and of signals."""
