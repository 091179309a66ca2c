"""What another process does in a test; it imports little, so that the process starts quickly."""

from medcam.errors import TrainingError


def fail(rank):
    raise TrainingError("nan-loss", "The loss is not a number (really).")
