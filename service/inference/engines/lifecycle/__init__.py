"""What happens to open bundles besides answering: shadow traffic between them, and closing those that are not used."""
