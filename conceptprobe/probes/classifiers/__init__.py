"""Classes that models choose from, and classifiers that are trained on their features."""
