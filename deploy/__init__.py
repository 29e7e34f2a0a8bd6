"""What operators need: images, dashboards, rules, and the proof that they work together."""
