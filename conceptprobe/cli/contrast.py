"""`conceptprobe contrast`."""

import json
from pathlib import Path
from typing import Annotated

import typer


def contrast(
    indices: Annotated[list[Path], typer.Argument(help="Two or more index directories over the same images.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write the tables to.")] = None,
    scores: Annotated[
        list[Path] | None,
        typer.Option(help="What `conceptprobe score` wrote, once for each index, in their order; else made anew."),
    ] = None,
    taxonomy: Annotated[
        str | None, typer.Option(help="imagenet, folders, columns:NAME,... or a file; see `conceptprobe score`.")
    ] = None,
    concepts: Annotated[
        Path | None,
        typer.Option(help="Compare by concepts of your own beside the labels: JSON, name to labels or ids."),
    ] = None,
    pair: Annotated[
        list[str] | None, typer.Option(help="Layers to compare, one of each index: LAYER_A=LAYER_B; may be repeated.")
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="By default the first that all indices have.")] = None,
    k: Annotated[int | None, typer.Option("-k", help="How many top images are looked at.")] = None,
    q: Annotated[float, typer.Option("-q", help="False discovery rate.")] = 0.05,
    resamples: Annotated[int, typer.Option(help="How often the images are resampled.")] = 100,
    match: Annotated[bool, typer.Option("--match/--no-match", help="Match features across the models.")] = True,
    seed: Annotated[int, typer.Option(help="Where random draws come from.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare models on the same images: what share of features is conceptual, and which concepts either one has."""
    if scores and (k is not None or len(scores) != len(indices)):
        raise typer.BadParameter("give --scores once for each index, and without -k, which they have")
    if taxonomy is not None and concepts is not None:
        raise typer.BadParameter("give one of --taxonomy and --concepts")
    from conceptprobe.concepts.comparison.contrast import NAME
    from conceptprobe.concepts.comparison.contrast import contrast as compare
    from conceptprobe.concepts.scoring.scores import load_scores
    from conceptprobe.concepts.sets.from_index import concepts_of
    from conceptprobe.concepts.sets.user_sets import beside_labels, read_sets
    from conceptprobe.indexing import open_index
    from conceptprobe.output.tables import check_output

    check_output(out, NAME)
    opened = [open_index(path) for path in indices]
    if len(opened) < 2:
        raise typer.BadParameter("give two or more indices")
    if concepts is not None:
        family = beside_labels(read_sets(concepts), opened[0].images)
    else:
        family = concepts_of(opened[0], taxonomy)
    result = compare(
        *opened, concepts=family, scores=[load_scores(path) for path in scores] if scores else None,
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
