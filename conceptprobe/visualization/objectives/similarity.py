"""Similarity of images in a layer: to each other, or to a given image.

Letters: n units, g images of a unit, e views of an image, p patches, c features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

COSINE_FLOOR = 0.1
_TINY = 1e-12


def similarity(acts_ngepc: Tensor) -> Tensor:
    """The mean cosine of each image to the others of its set, in the same view.

    The cosine is that between the covariances of the features over the patches, or between the vectors of a layer with
    one position.

    Returns:
        [n,g,e], from 0 to 1, or from -1 for vectors.
    """
    if acts_ngepc.shape[3] == 1:
        acts_ngec = F.normalize(acts_ngepc.squeeze(3), dim=3)
        cosine_nghe = torch.einsum("ngec,nhec->nghe", acts_ngec, acts_ngec)
    else:
        centred = acts_ngepc - acts_ngepc.mean(3, keepdim=True)
        # Norms first: fourth powers of large activations would leave the range of float32.
        inner_nghe = inner_products(F.normalize(centred.flatten(3), dim=3).unflatten(3, centred.shape[3:]))
        norm_nge = inner_nghe.diagonal(dim1=1, dim2=2).transpose(1, 2).clamp_min(_TINY).sqrt()
        cosine_nghe = inner_nghe / (norm_nge[:, :, None] * norm_nge[:, None])
    members = cosine_nghe.shape[1]
    others_gh = 1 - torch.eye(members, device=cosine_nghe.device, dtype=cosine_nghe.dtype)
    return (cosine_nghe * others_gh[None, :, :, None]).sum(2) / (members - 1)


def inner_products(acts_ngepc: Tensor) -> Tensor:
    """Frobenius inner products [n,g,g,e] of A'A and B'B, for the images A and B [p,c] of a set in the same view.

    These are the squared norms of AB', which are cheaper where there are fewer patches than features.
    """
    images, patches, features = acts_ngepc.shape[1], *acts_ngepc.shape[3:]
    if images * patches * patches <= features * features:
        return torch.einsum("ngepc,nheqc->nghepq", acts_ngepc, acts_ngepc).square().sum((4, 5))
    gram_ngecd = torch.einsum("ngepc,ngepd->ngecd", acts_ngepc, acts_ngepc)
    inner_nghe: Tensor = torch.einsum("ngecd,nhecd->nghe", gram_ngecd, gram_ngecd)
    return inner_nghe


def caricature(acts_ngepc: Tensor, targets_npc: Tensor, power_n: Tensor) -> Tensor:
    """a.b / b.b * max(cos(a, b), 0.1)^power for the activations a of each image and b of its unit's target.

    Returns:
        [n,g,e]; 1 for the target itself.
    """
    target_nxxpc = targets_npc[:, None, None]
    dot_nge = (acts_ngepc * target_nxxpc).sum((3, 4))
    square_nxx = target_nxxpc.square().sum((3, 4)).clamp_min(_TINY)
    norm_nge = torch.linalg.vector_norm(acts_ngepc, dim=(3, 4)).clamp_min(_TINY)
    cosine_nge = dot_nge / (norm_nge * square_nxx.sqrt())
    result: Tensor = dot_nge / square_nxx * cosine_nge.clamp_min(COSINE_FLOOR) ** power_n[:, None, None]
    return result


def distance(acts_ngepc: Tensor, targets_npc: Tensor) -> Tensor:
    """Mean squared difference to the target's activations, divided by their mean square: [n,g,e], at least 0."""
    target_nxxpc = targets_npc[:, None, None]
    square_nxx = target_nxxpc.square().mean((3, 4)).clamp_min(_TINY)
    return (acts_ngepc - target_nxxpc).square().mean((3, 4)) / square_nxx
