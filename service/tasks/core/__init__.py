"""The interfaces of tasks, and what all tasks share: parameters, recurrent state and its bytes, step batches."""
