"""Optimisation: `render`, with its objectives, parametrizations and transforms."""
