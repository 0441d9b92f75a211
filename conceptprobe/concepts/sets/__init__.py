"""Concepts as named sets of images, and the sources of these sets."""
