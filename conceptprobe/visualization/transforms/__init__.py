"""Random views of images, and the transforms that make them."""
