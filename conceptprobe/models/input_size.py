"""Input sizes other than a model's default."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from conceptprobe.models.errors import SpecError
from conceptprobe.models.spec import ModelSpec


def check_divides(spec: ModelSpec, patch_size: Iterable[int]) -> None:
    """Refuse an input size that is not a whole number of patches.

    Args:
        spec: The spec that names the size.
        patch_size: Rows and columns of a patch.

    Raises:
        SpecError: The size is not a multiple of the patch size.
    """
    assert spec.pixels is not None, spec
    for patch in patch_size:
        if spec.pixels % patch:
            near = sorted({max(1, spec.pixels // patch) * patch, -(-spec.pixels // patch) * patch})
            raise SpecError(
                f"{spec.text!r}: {spec.pixels} pixels are not a multiple of the patch size, {patch}; "
                f"write {' or '.join(f'#{pixels}' for pixels in near)}"
            )


def no_other_size(spec: ModelSpec) -> SpecError:
    """The error for an architecture that is built for one input size."""
    return SpecError(f"{spec.text!r}: {spec.name} has one input size only; leave out #{spec.pixels}")


def fits(module: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Whether all shapes in a file equal those of the module at its present input size."""
    expected = module.state_dict()
    return all(expected[key].shape == value.shape for key, value in state.items() if key in expected)
