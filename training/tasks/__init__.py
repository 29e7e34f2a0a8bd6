"""The tasks, one file each, as the pipeline hands them to the rest of training."""
