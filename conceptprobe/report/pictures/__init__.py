"""The images of a report: which occur, their thumbnails, and the whole images."""
