"""The optimisation itself: engine, optimisers, presets, checkpoints."""
