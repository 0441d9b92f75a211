"""Lucent's interface on this library's engine.

A script for torch-lucent 0.1.8 runs on any model, ViTs too, after `lucent` is changed to `conceptprobe.lucent` in its
imports.

    from conceptprobe.lucent.optvis import render, param, transform, objectives
    from conceptprobe.lucent.modelzoo.util import get_model_layers

Differences from Lucent:

- Objectives see a layer of tokens as a map [B,C,rows,columns] of its patches, so that channel n is feature n and not
  token n. Layers have Lucent's names (module paths joined by `_`) or this library's (`blocks.3.mlp.hidden`).
- The forward pass stops after the last layer of the objective; hooks, gradients and modes are restored afterwards.
- Consecutive transforms are one resampling, which repeats the edge of the image where Lucent's is black.
- `param.upconvGAN` and the parts of `misc` other than `misc.io.show` are missing.

`render_vis(..., engine="lucent")` runs the same call on torch-lucent itself, for CNNs: the extra `lucent` installs it.
"""
