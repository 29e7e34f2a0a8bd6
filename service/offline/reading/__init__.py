"""Files of any size as windows of rows: bounded memory, the same windows at every reading, errors kept at their row."""
