"""A recipe: the TOML file that says how an index is built."""

import tomllib
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from conceptprobe.indexing.errors import IndexingError

KINDS: dict[str, type] = {
    **dict.fromkeys(("k", "bottom", "batch_size"), int),
    **dict.fromkeys(("vectors", "fast_decode", "growable"), bool),
    **dict.fromkeys(("layers", "pooling"), tuple),
}


@dataclass(frozen=True)
class Recipe:
    """What `conceptprobe index build` needs; fields as in `build_index`, models and images by their specs."""

    model: str
    images: str
    layers: tuple[str, ...]
    out: str
    pooling: tuple[str, ...] | None = None
    k: int = 100
    batch_size: int = 64
    background: str = "white"
    fast_decode: bool = False
    vectors: bool = True
    bottom: int = 0
    growable: bool = False
    faiss: str = "Flat"

    @classmethod
    def make(cls, settings: dict[str, Any]) -> "Recipe":
        """Check settings that came from a file or a command line.

        Raises:
            IndexingError: A setting is missing, unknown, or of another type.
        """
        known = {field.name: field for field in fields(cls)}
        for name in settings:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise IndexingError(f"{name!r} is not a setting of an index{hint} Settings: {', '.join(known)}")
        missing = [name for name in ("model", "images", "layers", "out") if not settings.get(name)]
        if missing:
            raise IndexingError(f"an index needs {' and '.join(missing)}: name a recipe file or give --{missing[0]}")
        made = dict(settings)
        for name in ("layers", "pooling"):
            if name in made:
                value = made[name]
                made[name] = (
                    (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else value
                )
        for name, value in made.items():
            wanted = KINDS.get(name, str)
            texts = all(isinstance(x, str) for x in value) if isinstance(value, tuple) else True
            if type(value) is not wanted or not texts:
                kind = {tuple: "a list of texts", str: "a text", int: "a whole number", bool: "true or false"}[wanted]
                raise IndexingError(f"{name} is {value!r}: it must be {kind}")
        return cls(**made)


def read_recipe(path: Path) -> dict[str, Any]:
    """The settings in a TOML file.

    Raises:
        IndexingError: There is no such file, or it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise IndexingError(
            f"{path}: {error.strerror}; recipes are TOML files such as indices/mini-clip.toml"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise IndexingError(f"{path} is not TOML: {error}") from error
