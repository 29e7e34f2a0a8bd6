"""What a scrape of `/metrics` gets: the text, and the values of several workers as one."""
