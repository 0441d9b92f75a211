"""Scores of visualizations that need no human judges."""
