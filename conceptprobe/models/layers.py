"""Layers and the patterns that select them by name."""

import difflib
import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from conceptprobe.models.errors import UnknownLayerError

MODULE = "module:"
LOGITS = "logits"
_INDEX = re.compile(r"\[([^\]]*)\]")
_SLICE = re.compile(r"(-?\d+)|(-?\d+)?:(-?\d+)?(?::(-?\d+))?")


@dataclass(frozen=True)
class Layer:
    """A named activation tensor of a model.

    Attributes:
        name: The same for every family, e.g. `blocks.3.mlp.hidden`; `module:<dotted path>` for any other module.
        width: Number of features (channels); of heads for `attn.probs`.
        kind: "tokens" [B,T,C], "map" [B,C,H,W], "vector" [B,C] or "attention" [B,heads,T,T].
        prefix: Number of tokens before the first patch (CLS, distillation, registers).
        cls: Position of the CLS token, or None if there is none.
        grid: Rows and columns of patches, or of the map.
    """

    name: str
    width: int
    kind: str
    prefix: int = 0
    cls: int | None = None
    grid: tuple[int, int] | None = None


@dataclass(frozen=True)
class Tokens:
    """The layout of a token sequence; it is declared, never guessed from a shape.

    Attributes:
        prefix: Number of tokens before the first patch (CLS, distillation, registers).
        cls: Position of the CLS token, or None if there is none.
        grid: Rows and columns of patches.
        batch_first: Whether modules return [B,T,C] and not [T,B,C].
    """

    prefix: int = 0
    cls: int | None = None
    grid: tuple[int, int] | None = None
    batch_first: bool = True

    def layer(self, name: str, width: int, kind: str = "tokens") -> Layer:
        """A layer with this token layout."""
        return Layer(name, width, kind, self.prefix, self.cls, self.grid)


def is_square(count: int) -> bool:
    """Whether so many tokens fill a square grid."""
    return count > 0 and math.isqrt(count) ** 2 == count


def select(pattern: str, known: Collection[str]) -> list[str]:
    """The known names that match a name, a glob or a pattern with Python indices: `blocks[-4:].*.out`.

    `*` stands for any characters, `?` for one; `[...]` after a path is an index or slice of its numbered children.

    Raises:
        UnknownLayerError: Nothing matches; the message lists near names.
    """
    names = [name for expanded in _expand(pattern, known) for name in known if _matches(expanded, name)]
    if not names:
        raise UnknownLayerError(f"no layer {pattern!r}.{suggest(pattern, known)}")
    return names


def suggest(pattern: str, known: Collection[str]) -> str:
    """A sentence with the known names that are nearest to a wrong name."""
    longer = sorted((name for name in known if name.startswith(pattern)), key=len)
    near = longer[:5] or difflib.get_close_matches(pattern, known, n=5, cutoff=0.5)
    if near:
        return f" Did you mean {', '.join(near)}?"
    some = list(known)
    shown = some if len(some) <= 12 else [*some[:6], "...", *some[-6:]]
    return f" There are {', '.join(shown)}."


def _matches(pattern: str, name: str) -> bool:
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, name) is not None


def _expand(pattern: str, known: Collection[str]) -> Iterable[str]:
    """The patterns that result when each index is replaced by every child that it selects, from left to right."""
    match = _INDEX.search(pattern)
    if match is None:
        return [pattern]
    stem, rest = pattern[: match.start()], pattern[match.end() :]
    children = sorted({int(n) for name in known for n in re.findall(rf"^{re.escape(stem)}\.(\d+)(?:\.|$)", name)})
    chosen = _index(match[1], children)
    if not chosen:
        have = f"it has {len(children)} children" if children else "it has no numbered children"
        raise UnknownLayerError(f"no layer {pattern!r}: [{match[1]}] selects no child of {stem!r}; {have}")
    return [name for child in chosen for name in _expand(f"{stem}.{child}{rest}", known)]


def _index(text: str, children: list[int]) -> list[int]:
    match = _SLICE.fullmatch(text.replace(" ", ""))
    if match is None:
        raise UnknownLayerError(f"[{text}] is neither an index nor a slice: write [3], [-1], [-4:] or [::2]")
    if match[1] is not None:
        position = int(match[1])
        return [children[position]] if -len(children) <= position < len(children) else []
    start, stop, step = (int(part) if part else None for part in match.group(2, 3, 4))
    if step == 0:
        raise UnknownLayerError(f"[{text}]: a slice cannot have a step of 0")
    return children[slice(start, stop, step)]
