"""Evaluation: how far scores and maps may be believed."""
