"""Concepts as named sets of images, and where they come from."""
