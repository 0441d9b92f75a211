"""The settings of names."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.naming.soft_wpmi import MAX_LIST
from conceptprobe.indexing import Index
from conceptprobe.validation import CONFIG, make_settings

SHORTEST = 4  # a feature needs so many top images in the choosing half
MIN_K = 2 * SHORTEST


@dataclass(frozen=True, config=CONFIG)
class NamingSettings:
    """The settings of `label_features`, which says what each of them is."""

    templates: Annotated[tuple[str, ...], Field(min_length=1)]
    k: Annotated[int, Field(ge=MIN_K, le=MAX_LIST)]
    q: Annotated[float, Field(gt=0, lt=1)]
    seed: Annotated[int, Field(ge=0)]

    @field_validator("templates")
    @classmethod
    def _check_templates(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if not all("{}" in template for template in templates):
            raise ValueError("give sentences with {} where the word goes")
        return templates

    @classmethod
    def make(cls, index: Index, values: Mapping[str, Any]) -> "NamingSettings":
        """Check the settings that a user gave; a `k` of None is the largest that the index allows.

        Raises:
            ConceptError: A setting is of another type or out of range, or the lists of the index are too short.
        """
        longest = index.manifest.k
        if longest < MIN_K:
            raise ConceptError(
                f"{index.path} keeps lists of {longest}, but names need at least {MIN_K} top images: build the index "
                "with a larger k"
            )
        k = min(MAX_LIST, longest) if values["k"] is None else values["k"]
        settings = make_settings(cls, {**values, "k": k}, what="names", error=ConceptError)
        if settings.k > longest:
            raise ConceptError(f"k is {k}, but {index.path} keeps lists of {longest}: give a k of at most {longest}")
        return settings
