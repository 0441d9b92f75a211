"""The images of a report: which, as thumbnails, and whole."""
