"""What images show without meaning, and whether that explains a feature."""
