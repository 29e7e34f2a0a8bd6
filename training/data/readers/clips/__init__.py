"""Reader of captioned clips."""
