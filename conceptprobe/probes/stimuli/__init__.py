"""The stimuli that probes show to models, and their parts: corruptions, cue conflicts, grids, salient cells."""
