"""A contrast in words."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

MOST_NAMES = 12
TITLES = {
    "object": "object features", "conceptual": "conceptual features", "polysemantic": "polysemantic features",
    "unresolved": "unresolved features",
}  # fmt: skip


def summarise(
    differences: pd.DataFrame,
    models: pd.DataFrame,
    concepts: pd.DataFrame,
    matches: pd.DataFrame,
    settings: dict[str, Any],
    caveats: Sequence[str],
) -> str:
    """The findings of a `Contrast`, a line each."""
    names, place = settings["models"], "all"
    lines = [
        f"{' against '.join(names)}: {len(settings['places'])} layers, pooling {settings['pooling']}, top "
        f"{settings['k']} of {settings['images']:,} images, 95 % intervals"
    ]
    for row in models[(models["place"] == place) & (models["measure"] == "object")].itertuples():
        lines.append(
            f"{row.model}: {row.features:,} features, {row.tested:,} tested, {row.dead:,} dead, {row.untested:,} that "
            f"cannot be tested; {row.clusters:,} clusters of redundant ones"
        )
    for other in names[1:]:
        of_other = differences[differences["model_b"] == other]
        lines += ["", f"{names[0]} against {other}, all layers:"]
        lines += [f"  {finding(row)}" for row in of_other[of_other["place"] == place].itertuples()]
        by_layer = of_other[(of_other["place"] != place) & (of_other["measure"] == "conceptual")]
        lines += ["by layer:", *(f"  {row.place}: {finding(row)}" for row in by_layer.itertuples())]
        if len(matches):
            side = matches[(matches["model_b"] == other) & (matches["side"] == "a")]
            lines.append("features matched: " + "; ".join(
                f"{layer} {int(part['matched'].sum()):,} of {len(part):,}"
                for layer, part in side.groupby("layer", sort=False)
            ))  # fmt: skip
        lines += holding(concepts, names[0], other)
    return "\n".join([*lines, *(["", *(f"Mind: {caveat}." for caveat in caveats)] if caveats else [])])


def finding(row: Any) -> str:
    """One row of `Contrast.differences` in words."""
    if pd.isna(row.difference):
        return f"{TITLES.get(row.measure, row.measure)}: nothing to compare"
    share = row.measure in TITLES
    unit, digits = (100, 1) if share else (1, 3)
    half = unit * (row.high - row.low) / 2
    size, means = abs(unit * row.difference), f"{unit * row.a:.{digits}f} and {unit * row.b:.{digits}f}"
    means += " %" if share else ""
    title = TITLES.get(row.measure, "mean abstraction of object and conceptual features")
    matched = "" if pd.isna(row.p) else f", matched {unit * row.matched_difference:+z.{digits}f}, p {row.p:.2g}"
    if row.low <= 0 <= row.high:
        said = f"no difference is shown: {unit * row.difference:+z.{digits}f} ± {half:.{digits}f}"
        return f"{title}: {said}{' points' if share else ''} ({means}{matched})"
    more, fewer = ("more", "fewer") if share else ("higher", "lower")
    direction = more if row.difference > 0 else fewer
    points = " points" if share else ""
    return f"{title}: {row.model_a} has {size:.{digits}f} ± {half:.{digits}f}{points} {direction} ({means}{matched})"


def holding(concepts: pd.DataFrame, a: str, b: str) -> Iterator[str]:
    """Which concepts either model has a feature for."""
    tables = [concepts[concepts["model"] == name].set_index("concept") for name in (a, b)]
    held = [table["state"] == "held" for table in tables]
    both = tables[0][held[0] & held[1]]
    yield f"concepts with a feature in both: {len(both):,}{listed(both)}"
    for own, name, other in ((0, a, b), (1, b, a)):
        alone = tables[own][held[own] & ~held[1 - own]]
        sure = alone[tables[1 - own].loc[alone.index, "sure"]]
        yield f"only in {name}: {len(alone):,}{listed(alone)}; surely none in {other}: {len(sure):,}{listed(sure)}"


def listed(table: pd.DataFrame) -> str:
    """Names of concepts, those with the strongest features first."""
    names = table.sort_values("llr", ascending=False, kind="stable").index[:MOST_NAMES].tolist()
    return f" ({', '.join(names)}{', ...' if len(table) > MOST_NAMES else ''})" if names else ""
