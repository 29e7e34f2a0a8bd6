"""Trains recurrent networks and turns them into bundles that the service answers from."""
