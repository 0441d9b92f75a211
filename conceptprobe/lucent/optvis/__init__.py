"""Optimisation: `render`, and the objectives, parametrizations and transforms that it takes."""
