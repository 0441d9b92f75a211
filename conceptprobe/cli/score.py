"""`conceptprobe score`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer


def score(
    path: Annotated[Path, typer.Argument(help="The folder of an index.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write features.parquet and scores.json to.")] = None,
    taxonomy: Annotated[
        str | None,
        typer.Option(help="Concepts above the labels: imagenet, folders, columns:NAME,... or a JSON or CSV of edges."),
    ] = None,
    concepts: Annotated[
        Path | None,
        typer.Option(help="Your concepts beside the labels: JSON, names with labels or image ids."),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("-k", "--k", help="How many top images count; by default the median size of a leaf."),
    ] = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="A layer to score; may be repeated. By default all layers.")
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="By default the first pooling of the index.")] = None,
    q: Annotated[float, typer.Option("-q", "--q", help="False discovery rate of the verdicts.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 0,
    visual: Annotated[
        bool,
        typer.Option("--visual/--no-visual", help="Test whether images just look alike."),
    ] = True,
    scorer: Annotated[
        str | None,
        typer.Option(
            help="A model, such as mini:clip, whose embeddings measure clarity, monosemanticity and redundancy."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score each feature: does it respond to an object or a concept, and to which?"""
    if taxonomy is not None and concepts is not None:
        raise typer.BadParameter("give one of --taxonomy and --concepts")
    from conceptprobe.concepts.looks.method import describe_looks
    from conceptprobe.concepts.scoring.scores import NAME, score_features
    from conceptprobe.concepts.sets.from_index import concepts_of
    from conceptprobe.concepts.sets.user_sets import beside_labels, read_sets
    from conceptprobe.indexing import open_index
    from conceptprobe.models import load_model
    from conceptprobe.output.tables import check_output

    check_output(out, NAME)
    index = open_index(path)
    if concepts is None:
        concept_set = concepts_of(index, taxonomy)
    else:
        sets = beside_labels(read_sets(concepts), index.images)
        concept_set = replace(sets, options=("--concepts", str(concepts)))
    scores = score_features(
        index, concept_set, k, layers=layer, pooling=pooling, q=q, visual="auto" if visual else None, seed=seed,
        scorer=load_model(scorer) if scorer else None, progress=True,
    )  # fmt: skip
    if out is not None:
        scores.save(out)
    if as_json:
        summary = json.loads(scores.summary().to_json(orient="records"))
        typer.echo(json.dumps({"summary": summary, "settings": scores.settings}, ensure_ascii=False))
        return
    typer.echo(f"{scores}")
    typer.echo(f"looks: {describe_looks(scores.settings['looks'])}")
    for row in scores.summary().itertuples():
        typer.echo(
            f"{row.layer}  {row.verdict:13}{row.count:6} of {row.of}  {row.share:6.1%}  [{row.low:.1%}, {row.high:.1%}]"
        )
    if out is not None:
        typer.echo(f"scores: {out.resolve()}")
