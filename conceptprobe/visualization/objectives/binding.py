"""Many objectives of one model, evaluated together from its activations."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from conceptprobe.models import Layer, VisionModel
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.objectives.evaluators import by_position, make_evaluator, structure
from conceptprobe.visualization.objectives.expressions import Combination, Number, Objective, Operator

Values = Callable[[Mapping[str, Tensor]], Tensor]
_OPERATORS: dict[Operator, Callable[[Tensor, Tensor], Tensor]] = {"+": torch.add, "-": torch.sub, "*": torch.mul}


class Evaluator(Protocol):
    """Values of n units, which make g images each, from a model's activations; see `ObjectiveEvaluator`."""

    @property
    def images(self) -> int:
        """Images of a unit, g."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers to capture."""

    @property
    def early_layers(self) -> tuple[str, ...]:
        """The layers to capture in the first steps of an optimisation."""

    def __call__(self, acts: Mapping[str, Tensor], early: bool = False) -> Tensor:
        """Values [n,g,e]."""


@dataclass(frozen=True, eq=False)
class ObjectiveEvaluator:
    """n objectives of one model, each with g images, of which the model sees e views.

    Attributes:
        layers: The layers to capture, in model order.
        early_layers: The layers to capture in the first steps of an optimisation, where features that are off must get
            a gradient.
    """

    layers: tuple[str, ...]
    early_layers: tuple[str, ...]
    _shape: tuple[int, int, int]
    _known: Mapping[str, Layer]
    _groups: tuple["_Group", ...]
    _order_n: Tensor | None  # position of each unit among the values of the groups; None where these are in order

    @property
    def images(self) -> int:
        """Images of a unit, g."""
        return self._shape[1]

    def __call__(self, acts: Mapping[str, Tensor], early: bool = False) -> Tensor:
        """Values, float32 [n,g,e]. The value of a unit depends on the images of this unit only.

        Args:
            acts: The captured activations of `layers` (or of `early_layers`) for a batch of n * g * e images in that
                order.
            early: Whether this is one of the first steps.
        """
        wanted = self.early_layers if early else self.layers
        whole = {}
        for name in wanted:
            acts_bpc = by_position(acts[name], self._known[name])
            assert len(acts_bpc) == torch.Size(self._shape).numel(), (name, tuple(acts_bpc.shape), self._shape)
            whole[name] = acts_bpc.unflatten(0, self._shape)
        values = [group(whole, early) for group in self._groups]
        if len(values) == 1:
            return values[0]
        value_nge = torch.cat(values)
        return value_nge if self._order_n is None else value_nge.index_select(0, self._order_n)


def bind(model: VisionModel, objectives: Sequence[Objective], views: int) -> ObjectiveEvaluator:
    """Prepare objectives to be evaluated together on a model; their images and texts are encoded here.

    Args:
        model: The model.
        objectives: n objectives with the same number of images.
        views: Views of each image in a batch.

    Raises:
        VisualizeError: The model does not have what an objective needs, or the numbers of images differ.
        UnknownLayerError: There is no such layer; the error names similar layers.
    """
    if not objectives or views < 1:
        raise VisualizeError(
            f"there are {len(objectives)} objectives and {views} views: at least one of each is needed"
        )
    images = sorted({objective.images for objective in objectives})
    if len(images) > 1:
        raise VisualizeError(f"the objectives make {images} images a unit: evaluate those of one number together")
    local = [objective.on(model) for objective in objectives]
    if constant := [objective.key for objective in local if not any(objective.terms())]:
        raise VisualizeError(
            f"{constant[0]!r} depends on no layer, so there is nothing to maximise: add a feature or another objective"
        )
    units_of: dict[Hashable, list[int]] = defaultdict(list)
    for unit, objective in enumerate(local):
        units_of[_structure_of(objective)].append(unit)
    shape = (len(local), images[0], views)
    names: set[str] = set()
    early_names: set[str] = set()
    groups = []
    for units in units_of.values():
        same = [local[unit] for unit in units]
        late, early = (_evaluate(model, same, used, early) for used, early in ((names, False), (early_names, True)))
        whole = len(units) == len(local)
        chosen = None if whole else torch.tensor(units, device=model.device)
        groups.append(_Group(chosen, late, early))
    order = [unit for units in units_of.values() for unit in units]
    in_place = order == sorted(order)
    known = {layer.name: layer for layer in model.resolve(names | early_names)}
    return ObjectiveEvaluator(
        tuple(name for name in known if name in names),
        tuple(name for name in known if name in early_names),
        shape,
        known,
        tuple(groups),
        None if in_place else torch.tensor(order, device=model.device).argsort(),
    )


@dataclass(frozen=True, eq=False)
class _Group:
    """Units whose objectives have one structure; `units_m` is None where these are all units."""

    units_m: Tensor | None
    late: Values
    early: Values

    def __call__(self, whole: Mapping[str, Tensor], early: bool) -> Tensor:
        acts = whole if self.units_m is None else _Chosen(whole, self.units_m)
        return (self.early if early else self.late)(acts)


class _Chosen(dict[str, Tensor]):
    """The activations of some units, selected when a layer is read."""

    def __init__(self, whole: Mapping[str, Tensor], units_m: Tensor) -> None:
        super().__init__()
        self._whole = whole
        self._units_m = units_m

    def __missing__(self, name: str) -> Tensor:
        self[name] = self._whole[name].index_select(0, self._units_m)
        return self[name]


def _structure_of(objective: Objective) -> Hashable:
    """A key that is equal for objectives which the same operations evaluate."""
    if isinstance(objective, Combination):
        return objective.operator, _structure_of(objective.left), _structure_of(objective.right)
    return "number" if isinstance(objective, Number) else structure(objective)


def _evaluate(model: VisionModel, objectives: Sequence[Objective], used: set[str], early: bool) -> Values:
    """A function for the values [m,g,e] of m objectives of one structure; adds the layers that it reads to `used`."""
    first = objectives[0]
    if isinstance(first, Number):
        values = [objective.value for objective in objectives if isinstance(objective, Number)]
        value_m11 = torch.tensor(values, dtype=torch.float32, device=model.device)[:, None, None]
        return lambda acts: value_m11
    if isinstance(first, Combination):
        pairs = [objective for objective in objectives if isinstance(objective, Combination)]
        left = _evaluate(model, [pair.left for pair in pairs], used, early)
        right = _evaluate(model, [pair.right for pair in pairs], used, early)
        combine = _OPERATORS[first.operator]
        return lambda acts: combine(left(acts), right(acts))
    evaluator = make_evaluator(model, objectives, early=early)
    used.add(evaluator.layer)
    return evaluator
