"""A contrast in short: as a table, and in sentences."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from conceptprobe.concepts.comparison.matching import summarise_matches
from conceptprobe.concepts.comparison.sides import ALL
from conceptprobe.concepts.scoring.verdicts import TESTED

if TYPE_CHECKING:
    from conceptprobe.concepts.comparison.contrast import Contrast

MOST_NAMES = 12
COLUMNS = (
    "model_a", "model_b", "layer", "measure", "a", "b", "difference", "low", "high", "shown", "p", "q",
    "matched_difference", "matched_low", "matched_high", "matched_p",
)  # fmt: skip


def summarise(differences: pd.DataFrame) -> pd.DataFrame:
    """The rows of `Contrast.summary`."""
    shown = (differences["low"] > 0) | (differences["high"] < 0)
    return differences.assign(shown=shown)[list(COLUMNS)]


def describe_contrast(contrast: "Contrast") -> str:
    """The findings of a contrast, a sentence in each line."""
    summary, models, settings = contrast.summary(), contrast.models, contrast.settings
    first, *others = settings["models"]
    lines = [
        f"{' against '.join(settings['models'])}: {len(settings['layers'])} layers, pooling {settings['pooling']}, top "
        f"{settings['k']} of {settings['images']:,} images, 95 % intervals"
    ]
    for row in models[(models["layer"] == ALL) & (models["measure"] == "object")].itertuples():
        lines.append(
            f"{row.model}: {row.features:,} features, {row.tested:,} tested, {row.dead:,} dead, {row.untested:,} that "
            f"cannot be tested; {row.clusters:,} clusters of redundant ones"
        )
    for other in others:
        rows = summary[summary["model_b"] == other]
        lines += ["", f"{first} against {other}, all layers:"]
        for row in rows[rows["layer"] == ALL].itertuples():
            lines += [f"  {describe_difference(row)}", *(f"  {line}" for line in describe_matched(row))]
        by_layer = rows[(rows["layer"] != ALL) & (rows["measure"] == "conceptual")]
        lines += ["by layer:", *(f"  {row.layer}: {describe_difference(row)}" for row in by_layer.itertuples())]
        if len(contrast.matches):
            matches = summarise_matches(contrast.matches[contrast.matches["model_b"] == other])
            counts = matches[matches["side"] == "a"].itertuples()
            lines.append(f"features matched: {'; '.join(f'{row.layer} {row.count:,} of {row.of:,}' for row in counts)}")
        lines += describe_concepts(contrast.concepts, first, other)
    return "\n".join([*lines, *([""] if contrast.caveats else []), *(f"Mind: {text}." for text in contrast.caveats)])


def measure_title(measure: str) -> str:
    """What a measure is of, as a sentence begins with it."""
    return f"{measure} features" if measure in TESTED else "mean abstraction of object and conceptual features"


def describe_difference(row: Any) -> str:
    """One row of `Contrast.summary` as a sentence."""
    rate, title = row.measure in TESTED, measure_title(row.measure)
    if pd.isna(row.difference):
        return f"{title}: nothing to compare"
    unit, digits, percent, points = (100, 1, " %", " points") if rate else (1, 3, "", "")
    difference, half = unit * row.difference, unit * (row.high - row.low) / 2
    details = f"({unit * row.a:.{digits}f} and {unit * row.b:.{digits}f}{percent}, p {row.p:.2g})"
    if not row.shown:
        return f"{title}: no difference is shown: {difference:+z.{digits}f} ± {half:.{digits}f}{points} {details}"
    more, fewer = ("more", "fewer") if rate else ("higher", "lower")
    direction = more if difference > 0 else fewer
    return f"{title}: {row.model_a} has {abs(difference):.{digits}f} ± {half:.{digits}f}{points} {direction} {details}"


def describe_matched(row: Any) -> Iterator[str]:
    """What a row of `Contrast.summary` says of features of the same layer and a similar firing rate."""
    if pd.isna(row.matched_difference):
        return
    unit, digits, points = (100, 1, " points") if row.measure in TESTED else (1, 3, "")
    value, half = unit * row.matched_difference, unit * (row.matched_high - row.matched_low) / 2
    yield (
        f"{measure_title(row.measure)} at similar firing rates in a layer: "
        f"{value:+z.{digits}f} ± {half:.{digits}f}{points} (p {row.matched_p:.2g})"
    )


def describe_concepts(concepts: pd.DataFrame, a: str, b: str) -> Iterator[str]:
    """Which concepts both models have a feature for, and which only one of them."""
    tables = [concepts[concepts["model"] == name].set_index("concept") for name in (a, b)]
    held = [table["state"] == "held" for table in tables]
    both = tables[0][held[0] & held[1]]
    yield f"concepts with a feature in both: {len(both):,}{list_names(both)}"
    for number, name, other in ((0, a, b), (1, b, a)):
        alone = tables[number][held[number] & ~held[1 - number]]
        sure = alone[tables[1 - number].loc[alone.index, "sure"]]
        surely = f"surely none in {other}: {len(sure):,}{list_names(sure)}"
        yield f"only in {name}: {len(alone):,}{list_names(alone)}; {surely}"


def list_names(concepts: pd.DataFrame) -> str:
    """Names of concepts in brackets, those with the strongest features first."""
    names = concepts.sort_values("llr", ascending=False, kind="stable").index[:MOST_NAMES].tolist()
    return f" ({', '.join(names)}{', ...' if len(concepts) > MOST_NAMES else ''})" if names else ""
