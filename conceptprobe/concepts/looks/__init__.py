"""What images look like, without what they mean, and whether that explains a feature."""
