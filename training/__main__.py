"""`python -m training`: the training commands without the service's."""

from training.cli import app

app()
