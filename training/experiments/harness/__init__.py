"""Shared code of the experiments: tasks, training loop, tables and figures."""
