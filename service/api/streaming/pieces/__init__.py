"""Text and bytes in pieces, cut anywhere: what is complete is read, what is left waits for the next piece."""
