"""The paired comparison of models."""
