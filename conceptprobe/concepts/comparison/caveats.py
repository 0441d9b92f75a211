"""What limits a comparison, in sentences."""

from collections.abc import Iterator, Mapping, Sequence

from conceptprobe.concepts.comparison.layer_pairs import pair_name
from conceptprobe.concepts.comparison.settings import Comparison
from conceptprobe.concepts.looks.method import describe_looks
from conceptprobe.errors import ConceptProbeError
from conceptprobe.indexing import Index
from conceptprobe.indexing.model import model_of

FEW_SHORT = 0.01


def find_caveats(
    comparison: Comparison, short: float, class_names: Mapping[str, Sequence[str]] | None
) -> Iterator[str]:
    """Sentences about what limits a comparison.

    Args:
        comparison: What is compared.
        short: The share of the resampled lists that are too short.
        class_names: The classes that each model was trained on, by its spec; None loads the models to see them.
    """
    concepts = comparison.concepts
    leaves = [
        {name.lower() for name in (concepts.names[at], *concepts.aliases.get(concepts.names[at], ()))}
        for at in concepts.leaf_columns.tolist()
    ]
    for index, name in zip(comparison.indices, comparison.names, strict=True):
        classes = trained_classes(index, class_names)
        known = sum(not leaf.isdisjoint(classes) for leaf in leaves)
        if leaves and known >= len(leaves) / 2:
            yield (
                f"{known} of the {len(leaves)} leaves are classes that {name} was trained to tell apart, which favours "
                "object features in it: look at images that no model was trained on too"
            )
    for pair in comparison.pairs:
        widths = {i.width(layer) for i, layer in zip(comparison.indices, pair, strict=True)}
        if len(widths) > 1:
            yield f"at {pair_name(pair)} the models have {' and '.join(map(str, sorted(widths)))} features"
    if not comparison.has_vectors:
        yield "the indices keep no vectors of this pooling, so redundant features are not known and each counts as one"
    looks = comparison.scores[0].settings["looks"]
    if looks["method"] is None:
        yield f"whether images share a concept only because they look alike was {describe_looks(looks)}"
    if short > FEW_SHORT:
        yield (
            f"{100 * short:.0f} % of the resampled lists are too short: build the indices with a k well above "
            f"{comparison.k}, such as twice that"
        )


def trained_classes(index: Index, class_names: Mapping[str, Sequence[str]] | None) -> set[str]:
    """Lower-case names of the classes that a model was trained on; none where it has none or cannot be loaded."""
    if class_names is None:
        try:
            names: Sequence[str] = model_of(index, device="cpu").class_names
        except (ConceptProbeError, OSError):
            names = ()
    else:
        names = class_names.get(index.manifest.model.spec, ())
    return {name.lower() for name in names}
