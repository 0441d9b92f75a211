"""What a contrast is made of: whether scores and indices belong together, and what to keep in mind of them."""

from collections.abc import Iterator, Mapping, Sequence

from conceptprobe.concepts.comparison.layer_pairs import place_name
from conceptprobe.concepts.errors import ContrastError
from conceptprobe.concepts.looks.method import describe_looks
from conceptprobe.concepts.scoring.scores import FeatureScores
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.errors import ConceptProbeError
from conceptprobe.indexing import Index
from conceptprobe.models import load_model

FEW_SHORT = 0.01


def model_names(indices: Sequence[Index]) -> tuple[str, ...]:
    """Names of the models: their specs, or the directories where two are alike."""
    specs = tuple(index.manifest.model["spec"] for index in indices)
    return specs if len(set(specs)) == len(specs) else tuple(str(index.path) for index in indices)


def check_scores(
    indices: Sequence[Index], places: Sequence[Sequence[str]], pooling: str, concepts: ConceptSet,
    scores: Sequence[FeatureScores],
) -> None:  # fmt: skip
    """Scores are of the indices, in their order, all made in one way."""
    if len(scores) != len(indices):
        raise ContrastError(f"{len(scores)} scores for {len(indices)} indices: give one for each, in their order")
    known = set(concepts.names)
    for at, (index, score) in enumerate(zip(indices, scores, strict=True)):
        its = score.settings
        if its["fingerprints"]["model"] != index.manifest.model["fingerprint"]:
            raise ContrastError(
                f"scores {at + 1} are of {its['model']}, index {at + 1} is of {index.manifest.model['spec']}: give "
                "both in the same order"
            )
        if missing := [place[at] for place in places if place[at] not in its["layers"]]:
            raise ContrastError(f"the scores of {its['model']} lack {', '.join(missing)}: score those layers too")
        if its["pooling"] != pooling:
            raise ContrastError(f"the scores of {its['model']} are of pooling {its['pooling']}, not {pooling}")
        for name in ("k", "q", "looks"):
            if its[name] != scores[0].settings[name]:
                first, second = (
                    describe_looks(settings[name]) if name == "looks" else settings[name]
                    for settings in (scores[0].settings, its)
                )  # fmt: skip
                raise ContrastError(f"{name} of the scores differ: {first} and {second}")
        if its["concepts"] != scores[0].settings["concepts"]:
            raise ContrastError("the scores are by different concepts: score all indices by the same")
        if len(concepts) != its["concepts"]["count"] or not known.issuperset(score.frame["concept"].dropna()):
            raise ContrastError(f"the scores of {its['model']} are by other concepts than the {len(concepts)} given")


def comparable(indices: Sequence[Index], pooling: str) -> bool:
    """Whether activations over the same images can be had, by the pooling that is compared."""
    return all(index.manifest.vectors and index.manifest.pooling[0] == pooling for index in indices)


def caveats_of(
    indices: Sequence[Index], names: Sequence[str], places: Sequence[Sequence[str]], concepts: ConceptSet,
    scores: Sequence[FeatureScores], short: float, pooling: str,
    class_names: Mapping[str, Sequence[str]] | None,
) -> Iterator[str]:  # fmt: skip
    """What to keep in mind."""
    leaves = [
        {name.lower() for name in (concepts.names[at], *concepts.aliases.get(concepts.names[at], ()))}
        for at in concepts.leaf_columns.tolist()
    ]
    for index, name in zip(indices, names, strict=True):
        classes = trained_classes(index, class_names)
        known = sum(not leaf.isdisjoint(classes) for leaf in leaves)
        if leaves and known >= len(leaves) / 2:
            yield (
                f"{known} of the {len(leaves)} leaves are classes that {name} was trained to tell apart, which favours "
                "object features in it: look at images that no model was trained on too"
            )
    for place in places:
        widths = {index.manifest.layers[layer]["width"] for index, layer in zip(indices, place, strict=True)}
        if len(widths) > 1:
            yield f"at {place_name(place)} the models have {' and '.join(map(str, sorted(widths)))} features"
    if not comparable(indices, pooling):
        yield "without vectors of this pooling no redundant features are known: each counts by itself"
    looks = scores[0].settings["looks"]
    if looks["method"] is None:
        yield f"whether images share a concept only because they look alike was {describe_looks(looks)}"
    if short > FEW_SHORT:
        yield (
            f"{100 * short:.0f} % of the resampled lists are too short: build the indices with a k well above "
            f"{scores[0].settings['k']}, such as twice that"
        )


def trained_classes(index: Index, class_names: Mapping[str, Sequence[str]] | None) -> set[str]:
    """Lower-case names of the classes that a model was trained on; none where it has none or cannot be loaded."""
    spec = index.manifest.model["spec"]
    if class_names is None:
        try:
            names: Sequence[str] = load_model(spec, device="cpu").class_names
        except (ConceptProbeError, OSError):
            names = ()
    else:
        names = class_names.get(spec, ())
    return {name.lower() for name in names}
