"""Make the taxonomy of ImageNet's classes: the WordNet 3.0 nouns above them.

    python recipes/imagenet_taxonomy.py                                     # conceptprobe/concepts/data/imagenet.json
    python recipes/imagenet_taxonomy.py imagenet-21k-miil imagenet21k.json  # another class list of timm

Needs WordNet 3.0, of whose noun offsets ImageNet's ids are made (Debian: `apt install wordnet-base`); the order of the
classes is timm's, the short names of the 1,000 are open_clip's. The result has the format of users' taxonomy files.
"""

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from open_clip import IMAGENET_CLASSNAMES
from timm.data import ImageNetInfo

from wordnet import WORDNET, Synset, read_synsets

OUT = Path(__file__).resolve().parents[1] / "conceptprobe" / "concepts" / "data" / "imagenet.json"


def taxonomy(classes: Sequence[str], synsets: Mapping[str, Synset], short: Mapping[str, str]) -> dict[str, object]:
    """The classes and all broader nodes, in the form that `read_taxonomy` reads.

    A class shows its short name if no other node has that name, else its first lemma. A broader node shows its first
    lemma; if another node shows the same, the lemma of the node above follows in brackets.

    Args:
        classes: Offsets in the order of their class numbers.
        synsets: The nouns of WordNet.
        short: Short names of classes.
    """
    nodes = list(dict.fromkeys(classes))
    seen = set(nodes)
    for node in nodes:
        new = [above for above in synsets[node].broader if above not in seen]
        nodes += new
        seen.update(new)
    lemma = {node: synsets[node].lemmas[0] for node in nodes}
    known = set(classes)
    broader = [node for node in nodes if node not in known]
    taken = Counter([*short.values(), *(lemma[node] for node in broader)])
    first = {node: short[node] if node in short and taken[short[node]] == 1 else lemma[node] for node in nodes}
    shared = Counter(first.values())
    for node in broader:
        if shared[lemma[node]] > 1 and synsets[node].broader:
            first[node] = f"{lemma[node]} ({lemma[synsets[node].broader[0]]})"
    return {
        "classes": [f"n{node}" for node in classes],
        "names": {
            f"n{node}": list(dict.fromkeys([first[node], *synsets[node].lemmas, *filter(None, [short.get(node)])]))
            for node in nodes
        },
        "edges": [[f"n{above}", f"n{node}"] for node in nodes for above in synsets[node].broader],
    }


def as_text(table: Mapping[str, object]) -> str:
    """JSON with one line for each entry."""
    parts = []
    for key, entries in table.items():
        if isinstance(entries, dict):
            lines = [f"{json.dumps(name)}: {json.dumps(names, ensure_ascii=False)}" for name, names in entries.items()]
            parts.append(f'"{key}": {{\n' + ",\n".join(lines) + "\n}")
        else:
            parts.append(f'"{key}": [\n' + ",\n".join(map(json.dumps, entries)) + "\n]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classes", nargs="?", default="imagenet-1k", help="a class list of timm")
    parser.add_argument("out", nargs="?", type=Path, default=OUT)
    args = parser.parse_args()
    classes = [label.removeprefix("n") for label in ImageNetInfo(args.classes).label_names()]
    short = dict(zip(classes, IMAGENET_CLASSNAMES, strict=True)) if args.classes == "imagenet-1k" else {}
    table = taxonomy(classes, read_synsets(WORDNET / "data.noun"), short)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(as_text(table), encoding="utf-8")
    print(f"{args.out}: {len(classes)} classes, {len(table['names'])} nodes, {len(table['edges'])} edges")


if __name__ == "__main__":
    main()
