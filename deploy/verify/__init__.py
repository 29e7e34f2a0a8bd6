"""End-to-end checks of the deployed stack (`make verify-deploy`)."""
