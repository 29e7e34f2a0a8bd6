"""Several worker processes behind one port: their supervisor, and what they tell each other."""
