"""Finished images with their records: saved, compared with natural images, and drawn."""
