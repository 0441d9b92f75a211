"""Whether an index says the truth: its files, its invariants, and a second forward pass."""
