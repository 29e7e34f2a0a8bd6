"""Optuna studies that several processes and machines work on: storage, identity, and which process runs which trial."""
