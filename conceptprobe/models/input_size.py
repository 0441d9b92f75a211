"""Another input size than a model's own."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from conceptprobe.models.errors import SpecError
from conceptprobe.models.spec import ModelSpec


def check_divides(spec: ModelSpec, patch_size: Iterable[int]) -> None:
    """Refuse an input size that is no whole number of patches.

    Args:
        patch_size: Rows and columns of one.
    """
    assert spec.pixels is not None, spec
    for patch in patch_size:
        if spec.pixels % patch:
            near = sorted({max(1, spec.pixels // patch) * patch, -(-spec.pixels // patch) * patch})
            raise SpecError(
                f"{spec.text!r}: patches of {patch} pixels do not fill {spec.pixels}; "
                f"write {' or '.join(f'#{pixels}' for pixels in near)}"
            )


def no_other_size(spec: ModelSpec) -> SpecError:
    """The error of an architecture that is built for one size."""
    return SpecError(
        f"{spec.text!r}: {spec.name} cannot take another input size than its own; leave out #{spec.pixels}"
    )


def fits(module: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Whether all shapes in a file are those of the architecture at its present size."""
    own = module.state_dict()
    return all(own[key].shape == value.shape for key, value in state.items() if key in own)
