"""Options that several commands share, declared once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from conceptprobe.concepts.sets.concept_set import ConceptSet
    from conceptprobe.indexing import Index

IndexPath = Annotated[Path, typer.Argument(metavar="INDEX", help="The folder of an index.")]
Device = Annotated[
    str, typer.Option(help="Run the model on this device: auto (a GPU if there is one), cpu, cuda, cuda:N or mps.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON instead of text.")]
Seed = Annotated[int, typer.Option(min=0, help="The seed of all random draws; the same seed gives the same result.")]
Rate = Annotated[
    float, typer.Option("-q", "--q", help="The false discovery rate: the share of the findings that may be wrong.")
]
TopK = Annotated[int | None, typer.Option("-k", "--k", help="Look at this many top images of each feature.")]
Layers = Annotated[
    list[str] | None,
    typer.Option("--layer", help="Use only this layer of the index; may be repeated. By default all layers are used."),
]
Pooling = Annotated[
    str | None, typer.Option(help="Use the top images of this pooling; by default the first pooling of the index.")
]
MovedImages = Annotated[
    str | None, typer.Option("--images", help="Where the images are now, if not where the index was built from.")
]
ScoreFolders = Annotated[
    list[Path] | None, typer.Option("--scores", help="A folder that `conceptprobe score` wrote; may be repeated.")
]
Taxonomy = Annotated[
    str | None,
    typer.Option(
        help="Add broader concepts above the labels: imagenet, folders, columns:NAME,..., or a JSON or CSV of edges."
    ),
]
Concepts = Annotated[
    Path | None,
    typer.Option(
        help="Add your own concepts beside the labels: a JSON file from each concept's name to its labels or image ids."
    ),
]


def check_concept_options(taxonomy: str | None, concepts: Path | None) -> None:
    """Refuse --taxonomy and --concepts together."""
    if taxonomy is not None and concepts is not None:
        raise typer.BadParameter("give one of --taxonomy and --concepts, not both")


def load_concepts(index: "Index", taxonomy: str | None, concepts: Path | None) -> "ConceptSet":
    """The concepts that --taxonomy and --concepts choose; by default all that the image source of the index knows."""
    from dataclasses import replace

    from conceptprobe.concepts.sets.from_index import concepts_of
    from conceptprobe.concepts.sets.user_sets import beside_labels, read_sets

    if concepts is None:
        return concepts_of(index, taxonomy)
    return replace(beside_labels(read_sets(concepts), index.images), options=("--concepts", str(concepts)))
