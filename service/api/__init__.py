"""HTTP: schemas, routes, and one table that turns errors into answers."""
