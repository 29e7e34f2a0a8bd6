"""What all tasks share: the protocols, parameters, recurrent state and step batches."""
