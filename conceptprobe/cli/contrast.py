"""`conceptprobe contrast`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from conceptprobe.cli.options import (
    Concepts,
    Json,
    Pooling,
    Rate,
    ScoreFolders,
    Seed,
    Taxonomy,
    TopK,
    check_concept_options,
    load_concepts,
)


def contrast(
    indices: Annotated[list[Path], typer.Argument(metavar="INDEX", help="Folders of two or more indices.")],
    out: Annotated[Path | None, typer.Option(help="Write the tables and summary.txt to this folder.")] = None,
    scores: ScoreFolders = None,
    taxonomy: Taxonomy = None,
    concepts: Concepts = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER_A=LAYER_B",
            help="Compare these layers, one of each index; may be repeated. By default layers of the same name, or of "
            "the same relative depth, are compared.",
        ),
    ] = None,
    pooling: Pooling = None,
    k: TopK = None,
    q: Rate = 0.05,
    resamples: Annotated[int, typer.Option(help="Resample the images this many times for the intervals.")] = 100,
    match: Annotated[
        bool, typer.Option("--match/--no-match", help="Match features across the models by their activations.")
    ] = True,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Compare models on the same images.

    The indices must be of the same images, with top lists of the same length; every further one is compared with the
    first. Printed are the rates of object and conceptual features with their differences and 95 % intervals, and the
    concepts that both models or only one of them have features for. With --scores, once for each index in their order,
    features are not scored again.
    """
    if scores and (k is not None or len(scores) != len(indices)):
        raise typer.BadParameter("give --scores once for each index, and without -k, which the scores have")
    if len(indices) < 2:
        raise typer.BadParameter("give two or more indices")
    check_concept_options(taxonomy, concepts)
    from conceptprobe.concepts.comparison.contrast import NAME
    from conceptprobe.concepts.comparison.contrast import contrast as compare
    from conceptprobe.concepts.scoring.scores import load_scores
    from conceptprobe.indexing import open_index
    from conceptprobe.output.tables import check_output

    check_output(out, NAME)
    opened = [open_index(path) for path in indices]
    result = compare(
        *opened, concepts=load_concepts(opened[0], taxonomy, concepts),
        scores=[load_scores(path) for path in scores] if scores else None,
        pairs=[text.split("=") for text in pair] if pair else None, pooling=pooling, k=k, q=q, resamples=resamples,
        match=match, seed=seed, progress=True,
    )  # fmt: skip
    if out is not None:
        result.save(out)
    if as_json:
        tables = {
            name: json.loads(frame.to_json(orient="records"))
            for name, frame in (("differences", result.frame), ("models", result.models))
        }
        typer.echo(json.dumps({**tables, "caveats": result.caveats, "settings": result.settings}, ensure_ascii=False))
        return
    typer.echo(result.text())
    if out is not None:
        typer.echo(f"\ntables: {out.resolve()}")
