"""Names of features, from words and from concepts."""
