"""Graph writers of the networks that describe pictures and clips."""
