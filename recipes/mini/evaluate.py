"""Accuracy of the committed twins at naming images with one of 1,616 names, on seen and unseen styles.

    python recipes/mini/evaluate.py

It uses the public API: `load_model`, `load_images`, `preprocess`. The CLIP twin classifies zero-shot with the bare
names, the supervised twin with its classifier. Intervals are Wilson's, 95 %, over images.
"""

import json

import torch
from scipy.stats import binomtest

from conceptprobe.images import load_images
from conceptprobe.mini.architecture import data_path
from conceptprobe.models import VisionModel, load_model
from emoji_images import HELD_OUT_STYLES, MIN_STYLES

TWINS = ("mini:clip", "mini:supervised")


def logits_of(model: VisionModel, names: list[str], pixels_bchw: torch.Tensor) -> torch.Tensor:
    """Logits [n,c] over the names: the classifier's if the model has one, else cosines with the names' embeddings."""
    with torch.inference_mode():
        if model.spec == "mini:supervised":
            assert list(model.class_names) == names
            return torch.cat([model.logits(chunk) for chunk in pixels_bchw.split(256)])
        text = torch.nn.functional.normalize(model.encode_text(names), dim=-1)
        image = torch.cat([model.encode_image(chunk) for chunk in pixels_bchw.split(256)])
        return torch.nn.functional.normalize(image, dim=-1) @ text.T


def share(hits: int, n: int) -> str:
    """A percentage and its interval."""
    low, high = binomtest(hits, n).proportion_ci(method="wilson")
    return f"{100 * hits / n:5.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def main() -> None:
    """Print the accuracy of each twin."""
    images = load_images("mini:emoji")
    table = images.table.select(["id", "label", "style", "hexcode"]).to_pandas()
    names = json.loads(data_path("classes.json").read_text())
    table["unseen"] = table["style"].isin(HELD_OUT_STYLES)
    known = table.groupby("hexcode")["id"].transform("size") >= MIN_STYLES
    rows = table.index[known].to_numpy()
    table = table.loc[rows].reset_index(drop=True)
    target = torch.tensor([names.index(label) for label in table["label"]])
    print(f"{'model':<16} {'styles':<8} {'images':>6}  {'top-1':<20} {'top-5':<20}  samples seen")
    for spec in TWINS:
        model = load_model(spec, device="cpu")
        pixels = torch.stack([model.preprocess(images.load(row).image) for row in rows.tolist()])
        logits = logits_of(model, names, pixels)
        ranks = (logits > logits.gather(1, target[:, None])).sum(1)
        seen = json.loads(data_path(f"{spec.split(':')[1]}.history.json").read_text())[-1]["samples"]
        for unseen, title in ((False, "seen"), (True, "unseen")):
            chosen = ranks[torch.tensor((table["unseen"] == unseen).to_numpy())]
            cells = [share(int((chosen < k).sum()), len(chosen)) for k in (1, 5)]
            print(f"{spec:<16} {title:<8} {len(chosen):>6}  {cells[0]:<20} {cells[1]:<20}  {seen:,}")


if __name__ == "__main__":
    main()
