"""How a model names classes, and classifiers that are trained on its features."""
