"""What is done to the views of an image."""
