"""Match the inputs of a report: models, concepts, contrasts, probes, and the activations that an index keeps."""
