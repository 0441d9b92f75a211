"""Finished images with their records, and how they are drawn."""
