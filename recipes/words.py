"""Make the English word list and the table of nouns from WordNet 3.0 and SCOWL.

    python recipes/words.py            # writes conceptprobe/concepts/data/english.txt and nouns.txt

It needs both (Debian: `apt install wordnet-base scowl`). A word is a single lower-case word that is in both.

english.txt: 20,000 words, ordered by SCOWL's size class and within a class by frequency in WordNet's tagged texts. It
excludes inflected forms, words that are mostly adverbs, function words, and words whose meanings are all slurs,
disparaging or obscene by WordNet's marks. nouns.txt: words that are mostly nouns, or mostly verbs whose first meaning
as a noun is visible (`bear`, `dress`); then irregular plurals with their singular.
"""

import argparse
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from wordnet import PARTS, WORDNET, Synset, read_counts, read_exceptions, read_senses, read_synsets

OUT = Path(__file__).resolve().parents[1] / "conceptprobe" / "concepts" / "data"
SCOWL = Path("/usr/share/dict/scowl")
SIZES = (10, 20, 35, 40, 50, 55, 60)
LISTED = 20_000
WORD = re.compile(r"[a-z]{3,}|ox")
VISIBLE = {5, 6, 8, 13, 17, 18, 20, 27}  # animal, artifact, body, food, object, person, plant, substance
PLURAL = "plural"
OFFENSIVE = {"ethnic slur", "disparagement", "obscenity"}
# Function words that are also names of other things, such as `can`, `are` (a measure) and `who` (an organisation).
FUNCTION_WORDS = frozenset(
    "about all and any are both but can could down ever for from had has have her him his how its may "  # noqa: SIM905
    "might mine must nor not off one our out over own per shall she should some than that the then they this thus too "
    "was were what when where which while who why will with would yes yet you".split()
)


@dataclass(frozen=True)
class Dictionary:
    """WordNet and SCOWL.

    Attributes:
        senses: Offsets of the meanings of each word, the most frequent first, by part of speech.
        synsets: Meanings by offset, by part of speech.
        counts: How often the tagged texts use a word as a part of speech.
        exceptions: Base forms of irregular forms, by part of speech.
        size: SCOWL's size class of each word.
        capital: Words that SCOWL has only with a capital, such as Frisbee and Munich.
    """

    senses: Mapping[str, Mapping[str, tuple[str, ...]]]
    synsets: Mapping[str, Mapping[str, Synset]]
    counts: Mapping[tuple[str, str], int]
    exceptions: Mapping[str, Mapping[str, tuple[str, ...]]]
    size: Mapping[str, int]
    capital: frozenset[str] = frozenset()

    @cached_property
    def known(self) -> frozenset[str]:
        """Single words that are in both, without function words and offensive words."""
        both = {word for part in PARTS for word in self.senses[part] if word in self.size and WORD.fullmatch(word)}
        return frozenset(word for word in both - FUNCTION_WORDS if not self.is_offensive(word))

    def main_part(self, word: str) -> str:
        """The part of speech with the most uses of a word, else with the most meanings, else noun."""
        return max(
            PARTS, key=lambda part: (self.uses(word, part), len(self.senses[part].get(word, ())), part == "noun")
        )

    def uses(self, word: str, part: str) -> int:
        """How often the tagged texts use a word as a part of speech."""
        return self.counts.get((word, part), 0)

    def bases(self, word: str) -> Iterator[tuple[str, str]]:
        """Base forms of a word, regular or irregular, with their part of speech."""
        for part, endings in ENDINGS.items():
            regular = [word.removesuffix(old) + new for old, new in endings if word.endswith(old) and word[-2:] != "ss"]
            for base in (*regular, *self.exceptions[part].get(word, ())):
                if base != word and base in self.senses[part]:
                    yield base, part

    def is_inflected(self, word: str) -> bool:
        """Whether one of its base forms is used more often than the word."""
        uses = max(self.uses(word, part) for part in PARTS)
        return any(self.uses(base, part) > uses for base, part in self.bases(word))

    def is_offensive(self, word: str) -> bool:
        """Whether WordNet marks all meanings of a word as offensive."""
        meanings = [self.synsets[part][at] for part in PARTS for at in self.senses[part].get(word, ())]
        return all(self.usages(meaning) & OFFENSIVE for meaning in meanings)

    def usages(self, meaning: Synset) -> set[str]:
        """The usage domains of a meaning."""
        return {self.synsets["noun"][usage].lemmas[0] for usage in meaning.usage}

    def is_noun(self, word: str) -> bool:
        """Whether a word is mostly a noun, or has a visible first meaning as a noun."""
        if word not in self.senses["noun"]:
            return False
        first, part = self.synsets["noun"][self.senses["noun"][word][0]], self.main_part(word)
        visible = first.topic in VISIBLE
        mostly = part == "noun" or (part == "verb" and visible)  # `bear` and `dress` are
        return mostly and (visible or not self.is_inflected(word)) and not first.instance


ENDINGS = {
    "noun": (("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("ies", "y")),
    "verb": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}


def english(dictionary: Dictionary) -> list[str]:
    """The word list, the most frequent first."""
    words = [
        word
        for word in dictionary.known - dictionary.capital
        if dictionary.main_part(word) != "adv" and not dictionary.is_inflected(word)
    ]
    uses = {word: sum(dictionary.uses(word, part) for part in PARTS) for word in words}
    return sorted(words, key=lambda word: (dictionary.size[word], -uses[word], word))[:LISTED]


def nouns(dictionary: Dictionary) -> tuple[list[str], dict[str, str]]:
    """Singular nouns, and singulars of irregular plurals."""
    singular = {word for word in dictionary.known if dictionary.is_noun(word) and not is_plural(dictionary, word)}
    irregular = {
        form: next(base for base in bases if base in singular)
        for form, bases in dictionary.exceptions["noun"].items()
        if WORD.fullmatch(form) and singular & set(bases) and form not in singular
    }
    return sorted(singular), irregular


def is_plural(dictionary: Dictionary, word: str) -> bool:
    """Whether a noun is an irregular plural or the plural of a noun that is used as often; `glasses` is not."""
    first = dictionary.synsets["noun"][dictionary.senses["noun"][word][0]]
    if first.topic in VISIBLE and PLURAL in dictionary.usages(first):
        return False
    bases = [base for base, part in dictionary.bases(word) if part == "noun" and base in dictionary.known]
    irregular = set(bases) & set(dictionary.exceptions["noun"].get(word, ()))
    return bool(irregular) or any(dictionary.uses(base, "noun") >= dictionary.uses(word, "noun") for base in bases)


def read_sizes(scowl: Path, *kinds: str) -> dict[str, int]:
    """The smallest size class of each word in these lists of SCOWL, in lower case."""
    sizes: dict[str, int] = {}
    for size in SIZES:
        for path in (scowl / f"{kind}.{size}" for kind in kinds):
            for word in path.read_text(encoding="utf-8").split() if path.is_file() else ():
                sizes.setdefault(word.lower(), size)
    return sizes


def main() -> None:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scowl", type=Path, default=SCOWL, help="the folder of SCOWL's lists")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    sizes = read_sizes(args.scowl, "english-words", "american-words", "variant_1-words")
    capital = read_sizes(args.scowl, "english-upper")
    if not sizes:
        raise SystemExit(f"no lists of SCOWL in {args.scowl}: apt install scowl, or give --scowl")
    dictionary = Dictionary(
        {part: read_senses(WORDNET / f"index.{part}") for part in PARTS},
        {part: read_synsets(WORDNET / f"data.{part}") for part in PARTS},
        read_counts(WORDNET / "cntlist.rev"),
        {part: read_exceptions(WORDNET / f"{part}.exc") for part in PARTS},
        capital | sizes,
        frozenset(capital.keys() - sizes.keys()),
    )
    words = english(dictionary)
    singular, irregular = nouns(dictionary)
    lines = [*singular, *(f"{form} {base}" for form, base in sorted(irregular.items()))]
    for name, entries in (("english.txt", words), ("nouns.txt", lines)):
        (args.out / name).write_text("\n".join(entries) + "\n", encoding="utf-8")
    print(f"{args.out}: {len(words)} words, {len(singular)} nouns, {len(irregular)} irregular plurals")


if __name__ == "__main__":
    main()
