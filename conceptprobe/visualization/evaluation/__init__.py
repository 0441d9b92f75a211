"""Scores of visualizations without people."""
