"""Objectives, and how a model evaluates them."""
