"""The graph builder, and the layers that graph writers of several networks share."""
