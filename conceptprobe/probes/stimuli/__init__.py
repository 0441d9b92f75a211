"""Changed images: corruptions, cue conflicts, grids, salient cells."""
