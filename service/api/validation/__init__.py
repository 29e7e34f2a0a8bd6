"""What is refused before an endpoint runs, at a bounded cost: JSON bodies that do not fit, and unknown paths."""
