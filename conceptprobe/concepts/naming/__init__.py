"""Names of features, by words and by concepts."""
