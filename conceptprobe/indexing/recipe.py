"""A recipe: the TOML file that says how an index is built."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass

from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.settings import BuildSettings, Names
from conceptprobe.validation import CONFIG, make_settings

NEEDED = ("model", "images", "layers", "out")


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Recipe(BuildSettings):
    """Everything that `conceptprobe index build` needs: the settings of a build, and the specs of its model and images.

    Attributes:
        background: The colour behind transparent images.
        fast_decode: Whether JPEGs are scaled while they are decoded.
    """

    model: str
    images: str
    layers: Names
    out: str
    background: str = "white"
    fast_decode: bool = False


def make_recipe(settings: Mapping[str, Any]) -> Recipe:
    """A recipe from settings of a file or a command line.

    Raises:
        IndexingError: A setting is missing, unknown, of another type or out of range.
    """
    if missing := [name for name in NEEDED if not settings.get(name)]:
        raise IndexingError(f"an index needs {' and '.join(missing)}: name a recipe file or give --{missing[0]}")
    return make_settings(Recipe, settings, what="an index", error=IndexingError)


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
