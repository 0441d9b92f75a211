"""Short texts for people."""

import re

LONGEST_TEXT = 200


_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def shorten(text: str, longest: int = LONGEST_TEXT) -> str:
    """Cut a text to one line of at most `longest` characters."""
    line = _SPACE.sub(" ", text).strip()
    return line if len(line) <= longest else line[: longest - 1] + "…"
