"""The training loop: gradients, schedules, checkpoints, run folders and trackers."""
