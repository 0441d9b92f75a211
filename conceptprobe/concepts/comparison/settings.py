"""What is compared, and with which settings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd
from pydantic import Field
from pydantic.dataclasses import dataclass as settings_dataclass

from conceptprobe.concepts.comparison.layer_pairs import check_comparable, pair_layers, pair_name
from conceptprobe.concepts.comparison.resampling import Plan
from conceptprobe.concepts.errors import ContrastError
from conceptprobe.concepts.looks.method import describe_looks
from conceptprobe.concepts.scoring.scores import FeatureScores, score_features
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.sets.from_index import concepts_of
from conceptprobe.indexing import Index
from conceptprobe.validation import CONFIG, make_settings


@settings_dataclass(frozen=True, config=CONFIG)
class ContrastSettings:
    """The settings of a contrast; `contrast` says what each of them is."""

    pooling: str | None
    k: int | None
    q: Annotated[float, Field(gt=0, lt=1)]
    resamples: Annotated[int, Field(ge=2)]
    match: bool
    seed: Annotated[int, Field(ge=0)]
    progress: bool

    @classmethod
    def make(cls, values: Mapping[str, Any]) -> "ContrastSettings":
        """Check the settings that a user gave.

        Raises:
            ContrastError: A setting is of another type or out of range.
        """
        return make_settings(cls, values, what="contrast", error=ContrastError)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Indices that can be compared, with all that the comparison needs.

    Attributes:
        indices: The indices; the first is compared with each other one.
        names: Names of their models: the specs, or the paths of the indices where two specs are alike.
        pairs: The layers that are compared with each other, one of each index in each tuple.
        pooling: The pooling of the lists.
        concepts: The concepts that the scores are by.
        scores: The scores of each index.
        plan: How images are resampled.
        settings: The user's settings.
    """

    indices: tuple[Index, ...]
    names: tuple[str, ...]
    pairs: tuple[tuple[str, ...], ...]
    pooling: str
    concepts: ConceptSet
    scores: tuple[FeatureScores, ...]
    plan: Plan
    settings: ContrastSettings

    @classmethod
    def make(
        cls,
        indices: tuple[Index, ...],
        concepts: ConceptSet | None,
        scores: Sequence[FeatureScores] | None,
        pairs: Iterable[Sequence[str]] | None,
        settings: ContrastSettings,
    ) -> "Comparison":
        """Check that everything fits together, and score the features where there are no scores.

        Raises:
            ContrastError: The indices cannot be compared, or the scores are of other indices or concepts.
        """
        names, pooling = model_names(indices), check_comparable(indices, settings.pooling)
        layers = pair_layers(indices, pairs)
        concepts = concepts_of(indices[0]) if concepts is None else concepts
        if scores is None:
            scores = [
                score_features(
                    index, concepts, settings.k, layers=[pair[number] for pair in layers], pooling=pooling,
                    q=settings.q, seed=settings.seed, progress=settings.progress,
                )
                for number, index in enumerate(indices)
            ]  # fmt: skip
        check_scores(indices, layers, pooling, concepts, scores)
        plan = Plan.of(len(indices[0].images), scores[0].settings["k"], settings.seed)
        return cls(indices, names, layers, pooling, concepts, tuple(scores), plan, settings)

    @property
    def k(self) -> int:
        """How many top images the scores look at."""
        return int(self.scores[0].settings["k"])

    @property
    def q(self) -> float:
        """The false discovery rate of the verdicts."""
        return float(self.scores[0].settings["q"])

    @property
    def layer_names(self) -> tuple[str, ...]:
        """One name for each pair of layers."""
        return tuple(pair_name(pair) for pair in self.pairs)

    @property
    def has_vectors(self) -> bool:
        """Whether the indices keep the activations of this pooling for every image."""
        return all(index.keeps_activations(self.pooling) for index in self.indices)

    def layers_of(self, number: int) -> list[str]:
        """The compared layers of one of the indices."""
        return [pair[number] for pair in self.pairs]

    def scores_of(self, number: int, layer: str) -> pd.DataFrame:
        """The rows of `FeatureScores.frame` for a layer of one of the indices."""
        frame = self.scores[number].frame
        return frame[frame["layer"] == layer].reset_index(drop=True)


def model_names(indices: Sequence[Index]) -> tuple[str, ...]:
    """Names of the models: their specs, or the paths of the indices where two specs are alike.

    Raises:
        ContrastError: An index is given twice.
    """
    paths = [str(index.path) for index in indices]
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise ContrastError(f"{twice[0]} is given twice: give indices of different models")
    specs = tuple(index.manifest.model.spec for index in indices)
    return specs if len(set(specs)) == len(specs) else tuple(paths)


def check_scores(
    indices: Sequence[Index], pairs: Sequence[Sequence[str]], pooling: str, concepts: ConceptSet,
    scores: Sequence[FeatureScores],
) -> None:  # fmt: skip
    """Check that scores are of the indices, in their order, and were all made in one way.

    Raises:
        ContrastError: They are not.
    """
    if len(scores) != len(indices):
        raise ContrastError(f"{len(scores)} scores for {len(indices)} indices: give one for each index, in their order")
    known = set(concepts.names)
    first = scores[0].settings
    for number, (index, score) in enumerate(zip(indices, scores, strict=True)):
        settings = score.settings
        model = settings["model"]
        if settings["fingerprints"]["model"] != index.manifest.model.fingerprint:
            raise ContrastError(
                f"scores {number + 1} are of {model}, index {number + 1} is of {index.manifest.model.spec}: give "
                "both in the same order"
            )
        if missing := [pair[number] for pair in pairs if pair[number] not in settings["layers"]]:
            raise ContrastError(f"the scores of {model} lack {', '.join(missing)}: score those layers too")
        if settings["pooling"] != pooling:
            raise ContrastError(
                f"the scores of {model} are of pooling {settings['pooling']}, the contrast is of {pooling}: give the "
                "same pooling to both"
            )
        for name in ("k", "q", "looks"):
            if settings[name] != first[name]:
                ours, theirs = (describe_looks(s[name]) if name == "looks" else s[name] for s in (first, settings))
                raise ContrastError(f"{name} of the scores differ: {ours} and {theirs}; score all indices alike")
        if settings["concepts"] != first["concepts"]:
            raise ContrastError("the scores are by different concepts: score all indices by the same")
        if len(concepts) != settings["concepts"]["count"] or not known.issuperset(score.frame["concept"].dropna()):
            raise ContrastError(
                f"the scores of {model} are by other concepts than the {len(concepts)} of the contrast: give the "
                "concepts that the scores were made with"
            )
