"""Scores and verdicts of features."""
