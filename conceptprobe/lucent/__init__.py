"""Lucent's interface on this library's engine: a script for torch-lucent 0.1.8 runs on any model, ViTs too, after
`lucent` is changed to `conceptprobe.lucent` in its imports.

    from conceptprobe.lucent.optvis import render, param, transform, objectives
    from conceptprobe.lucent.modelzoo.util import get_model_layers

What differs from Lucent:

- A layer of tokens is shown to objectives as a map [B,C,rows,columns] of its patches, so that channel n is feature n
  and not token n. Layers have Lucent's names (module paths joined by `_`) or this library's (`blocks.3.mlp.hidden`).
- The forward stops after the last layer that the objective looks at; hooks, gradients and modes stay as they were.
- Transforms of `transform` in a row are one resampling, and beyond the image its edge goes on where Lucent's is black.
- Not there: `param.upconvGAN`, and the parts of `misc` other than `misc.io.show`.

`render_vis(..., engine="lucent")` runs the same call on torch-lucent itself, for CNNs: the extra `lucent` installs it.
"""
