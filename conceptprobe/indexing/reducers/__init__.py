"""Running reductions over images: top lists, moments, samples."""
