"""Training: from data to a bundle."""
