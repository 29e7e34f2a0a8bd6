"""The task of graphs whose inputs and outputs are named arrays, such as those of models that others have trained."""
