"""Networks that describe what they see: pictures, and clips of frames."""
