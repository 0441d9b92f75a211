"""The embedded default: emoji drawn by nine art projects, and small ViTs that differ only in supervision.

`data/` holds the images (one WebDataset shard for each style), their metadata (`emoji.parquet`) and the weights.
`recipes/mini/` in the repository made all of it.
"""
