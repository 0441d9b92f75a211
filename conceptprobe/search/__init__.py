"""Ask indices by text, image and feature."""
