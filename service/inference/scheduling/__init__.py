"""Scheduling: the lanes (threads), dynamic batching and continuous batching."""
