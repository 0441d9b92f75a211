"""Read the files of WordNet 3.0, as Debian's package `wordnet-base` installs them under /usr/share/wordnet."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

WORDNET = Path("/usr/share/wordnet")
PARTS = ("noun", "verb", "adj", "adv")


@dataclass(frozen=True)
class Synset:
    """One meaning.

    Attributes:
        topic: Number of its lexicographer file, such as 5 for animals.
        lemmas: Its words, best first.
        broader: Offsets of its hypernyms.
        instance: Whether it is a named individual, such as a town, and not a kind.
        usage: Offsets of its usage domains, such as slang.
    """

    topic: int
    lemmas: tuple[str, ...]
    broader: tuple[str, ...]
    instance: bool
    usage: tuple[str, ...]


def read_synsets(path: Path) -> dict[str, Synset]:
    """The synsets of a `data.*` file by their offset; see wndb(5WN)."""
    synsets = {}
    for line in path.read_text().splitlines():
        if line.startswith(" "):  # the licence at the top
            continue
        offset, topic, _, words, *rest = line.partition(" | ")[0].split()
        end = 2 * int(words, 16)
        pointers = [rest[at : at + 4] for at in range(end + 1, end + 1 + 4 * int(rest[end]), 4)]
        synsets[offset] = Synset(
            int(topic),
            tuple(word.partition("(")[0].replace("_", " ") for word in rest[0:end:2]),  # adjectives end in (a), (p)
            tuple(target for symbol, target, _, _ in pointers if symbol in ("@", "@i")),
            any(symbol == "@i" for symbol, *_ in pointers),
            tuple(target for symbol, target, _, _ in pointers if symbol == ";u"),
        )
    return synsets


def read_senses(path: Path) -> dict[str, tuple[str, ...]]:
    """Offsets of the meanings of each word of an `index.*` file, the most frequent first."""
    senses = {}
    for line in path.read_text().splitlines():
        if not line.startswith(" "):
            word, _, count, *rest = line.split()
            senses[word] = tuple(rest[-int(count) :])
    return senses


def read_counts(path: Path) -> dict[tuple[str, str], int]:
    """How often WordNet's tagged texts use a word as a part of speech, from `cntlist.rev`."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    part = {"1": "noun", "2": "verb", "3": "adj", "4": "adv", "5": "adj"}
    for line in path.read_text().splitlines():
        key, _, count = line.split()
        word, _, lexical = key.partition("%")
        counts[word, part[lexical[0]]] += int(count)
    return counts


def read_exceptions(path: Path) -> dict[str, tuple[str, ...]]:
    """Base forms of each irregular form of a `*.exc` file."""
    return {form: tuple(bases) for form, *bases in map(str.split, path.read_text().splitlines())}
