"""`make verify-deploy`: brings the whole stack up in containers, uses it, breaks it, and says what held."""
