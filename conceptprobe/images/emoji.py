"""`mini:emoji`: the emoji of nine art projects that come with the package."""

from importlib.resources import files
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from conceptprobe.images.errors import SourceError
from conceptprobe.images.readers import TarReader
from conceptprobe.images.shards import index_shards


def list_emoji(name: str) -> tuple[pa.Table, TarReader]:
    """List `emoji` or some of its art styles: `emoji/noto,twemoji`.

    Raises:
        SourceError: The name is another, or a style does not exist.
    """
    data = Path(str(files("conceptprobe.mini"))) / "data"
    shards = dict(sorted((path.stem.removeprefix("emoji-"), str(path)) for path in data.glob("emoji-*.tar")))
    collection, _, wanted = name.partition("/")
    styles = wanted.split(",") if wanted else list(shards)
    if collection != "emoji" or not shards.keys() >= set(styles):
        raise SourceError(
            f"mini:{name} does not exist: use mini:emoji, or some styles such as mini:emoji/noto,twemoji; "
            f"styles: {', '.join(shards)}"
        )
    table, reader = index_shards([shards[style] for style in dict.fromkeys(styles)])
    known = pyarrow.parquet.read_table(data / "emoji.parquet")
    known = known.rename_columns(["label" if column == "name" else column for column in known.column_names])
    known = known.append_column("hexcode", pc.replace_substring_regex(known["id"], ".*/", ""))
    return known.take(pc.index_in(table["id"], value_set=known["id"])), reader
