"""What an image is optimised for."""
