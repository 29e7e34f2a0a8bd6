"""What the experiments share: tasks, training loops, tables and figures."""
