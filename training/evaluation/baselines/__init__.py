"""Cheap baselines that a network has to beat: a score says little without one of these beside it."""
