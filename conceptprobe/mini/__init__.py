"""The embedded default: emoji drawn by nine art projects, and small ViTs that differ only in supervision.

`data/` holds the images (one WebDataset shard a style), what is known of each (`emoji.parquet`) and the weights.
How all of it was made: `recipes/mini/` in the repository.
"""
