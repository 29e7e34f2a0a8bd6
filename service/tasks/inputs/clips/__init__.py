"""Readers of short clips: GIF files, animated PNG files, and lists of pictures."""
