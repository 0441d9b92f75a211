"""Images through the model: decoded, batched, pooled, reduced, with progress."""
