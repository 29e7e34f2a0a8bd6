"""Readers of inputs: JSON values, text, WAV sounds, PNG images and time series."""
