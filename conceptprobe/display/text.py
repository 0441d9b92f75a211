"""Short texts for people."""

import re

LONGEST_TEXT = 200


_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def shorten(text: str, longest: int = LONGEST_TEXT) -> str:
    """One line of at most so many characters."""
    line = _SPACE.sub(" ", text).strip()
    return line if len(line) <= longest else line[: longest - 1] + "…"
