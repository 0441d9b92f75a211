"""Train the mini models: a distilled start, then two twins that differ only in supervision.

    python recipes/mini/train.py teach        # DINOv2 ViT-S/14 looks at augmented views; its tokens are cached
    python recipes/mini/train.py distil       # the mini ViT learns to give those tokens: the common start
    python recipes/mini/train.py clip         # mini:clip, captions
    python recipes/mini/train.py supervised   # mini:supervised, names as classes

Everything lands in --work and is resumed by the same command after a kill. `export` copies the finished weights into
the package. Both twins see the same images in the same order with the same views; a step of the classifier takes half
as many of them. Heads learn first on the frozen start, then everything (Kumar et al. 2022, arXiv 2202.10054).
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from conceptprobe.mini.architecture import (
    CONTEXT_LENGTH,
    IMAGE_SIZE,
    PATCH_SIZE,
    WIDTH,
    data_path,
    make_classifier,
    make_clip,
    normalise,
    trunk_of,
)  # fmt: skip
from conceptprobe.mini.tokenizer import MiniTokenizer
from emoji_images import Emoji, caption, class_names, clean_views, load_emoji, random_views

TEACHER = "vit_small_patch14_dinov2.lvd142m"
TEACHER_SIZE = 112
TEACHER_MEAN, TEACHER_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VIEWS = 2
GRID = IMAGE_SIZE // PATCH_SIZE


@dataclass(frozen=True)
class Schedule:
    """Samples, not steps, so that it reads the same for every batch size: rise, stay, fall linearly to zero."""

    samples: int
    batch: int
    lr: float
    head_only: int = 0  # samples for which the trunk is frozen
    rise: int = 20_000
    fall: int = 120_000
    weight_decay: float = 0.05

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return self.samples // self.batch

    def lr_at(self, step: int) -> float:
        """The learning rate of a step."""
        seen = step * self.batch
        since = seen - self.head_only if seen >= self.head_only else seen
        return self.lr * min(1.0, (since + self.batch) / self.rise, (self.samples - seen) / self.fall)


DISTIL = Schedule(samples=200_000, batch=64, lr=1e-3, fall=60_000)
CLIP = Schedule(samples=320_000, batch=128, lr=6e-4, head_only=60_000)
SUPERVISED = Schedule(samples=320_000, batch=64, lr=4e-4, head_only=60_000)


def autocast() -> torch.autocast:
    """Use bfloat16 if the processor has it; emulation would be slow."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported())


def save(state: object, path: Path) -> None:
    """Write a checkpoint atomically."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def training_images() -> Emoji:
    """The images of the training set."""
    emoji = load_emoji()
    return emoji.where(emoji.table["seen_style"] & emoji.table["seen_emoji"])


def order(n: int, start: int, count: int) -> np.ndarray:
    """The images of samples start .. start+count-1; each epoch is a new permutation, the same for every twin."""
    epochs = range(start // n, (start + count - 1) // n + 1)
    rows = np.concatenate([np.random.default_rng((1, epoch)).permutation(n) for epoch in epochs])
    return rows[start - epochs[0] * n :][:count]


def views_of(emoji: Emoji, start: int, count: int) -> tuple[np.ndarray, Tensor]:
    """Rows and augmented pixels of a run of samples; in chunks of 64, so that a view depends on its number alone."""
    rows = order(len(emoji), start, count)
    chunks = []
    for first in range(0, count, 64):
        generator = torch.Generator().manual_seed(10_000_019 + start + first)
        chunks.append(random_views(emoji.rgba_nchw[rows[first : first + 64]], IMAGE_SIZE, generator))
    return rows, torch.cat(chunks)


def teach(work: Path, weights: Path) -> None:
    """Cache, for VIEWS views of every image in a seen style: the view at 48 px and the teacher's tokens on it."""
    emoji = load_emoji()
    emoji = emoji.where(emoji.table["seen_style"])
    teacher = timm.create_model(TEACHER, img_size=TEACHER_SIZE, num_classes=0).eval()
    teacher.load_state_dict(checkpoint_filter_fn(safetensors.torch.load_file(weights), teacher))
    mean, std = (torch.tensor(v)[:, None, None] for v in (TEACHER_MEAN, TEACHER_STD))
    total = len(emoji) * VIEWS
    pixels = np.lib.format.open_memmap(work / "views.npy", "w+", np.uint8, (total, 3, IMAGE_SIZE, IMAGE_SIZE))
    tokens = np.lib.format.open_memmap(work / "tokens.npy", "w+", np.float16, (total, GRID**2 + 1, 384))
    began = time.time()
    for first in range(0, total, 64):
        rows = np.arange(first, min(first + 64, total)) % len(emoji)
        large = random_views(emoji.rgba_nchw[rows], TEACHER_SIZE, torch.Generator().manual_seed(first))
        with torch.inference_mode(), autocast():
            out = teacher.forward_features((large - mean) / std).float()
        side = TEACHER_SIZE // 14
        patches = out[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        patches = F.interpolate(patches, size=GRID, mode="bilinear", antialias=True).flatten(2).transpose(1, 2)
        small = F.interpolate(large, size=IMAGE_SIZE, mode="bicubic", antialias=True).clamp(0, 1)
        tokens[first : first + 64] = torch.cat([out[:, :1], patches], 1).half().numpy()
        pixels[first : first + 64] = (small * 255).round().byte().numpy()
        if first % 1280 == 0:
            log(f"teach {first}/{total}  {(first + 64) / (time.time() - began):.0f} images/s")
    (work / "taught").touch()


def log(text: str) -> None:
    """Print a line with the time."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def make_optimiser(model: nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """AdamW; biases, norms, embeddings and the logit scale are not decayed."""
    buckets: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, p in model.named_parameters():
        buckets[p.ndim >= 2 and not any(word in name for word in ("pos", "token", "embedding"))].append(p)
    return torch.optim.AdamW(
        [{"params": params, "weight_decay": weight_decay * decayed} for decayed, params in buckets.items()],
        betas=(0.9, 0.98),
        foreach=True,
    )


def run(
    name: str, model: nn.Module, trunk: list[nn.Parameter], schedule: Schedule,
    loss_of: Callable[[nn.Module, int], Tensor], evaluate: Callable[[nn.Module], dict[str, float]], work: Path,
) -> None:  # fmt: skip
    """Train to the end of the schedule, from the last checkpoint if there is one. `trunk` is frozen at first."""
    checkpoint, step = work / f"{name}.pt", 0
    optimiser = make_optimiser(model, schedule.weight_decay)
    history: list[dict] = []
    if checkpoint.exists():
        stored = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(stored["model"])
        optimiser.load_state_dict(stored["optimiser"])
        step, history = stored["step"], stored["history"]
    report_every = max(1, 40_000 // schedule.batch)
    began, first, recent = time.time(), step, []
    model.train()
    while step < schedule.steps:
        frozen = step * schedule.batch < schedule.head_only
        for group in optimiser.param_groups:
            group["lr"] = schedule.lr_at(step)
        for p in trunk:
            p.requires_grad_(not frozen)
        with autocast():
            loss = loss_of(model, step)
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        recent.append(loss.item())
        step += 1
        if step % report_every == 0 or step == schedule.steps:
            model.eval()
            row = {"samples": step * schedule.batch, "loss": round(float(np.mean(recent)), 4), **evaluate(model)}
            model.train()
            history.append(row)
            recent = []
            rate = (step - first) * schedule.batch / (time.time() - began)
            log(f"{name} {json.dumps(row)} {rate:.0f} samples/s")
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "history": history}
            save(state, checkpoint)
            (work / f"{name}.json").write_text(json.dumps(history, indent=1))


class Student(nn.Module):
    """The mini ViT with a linear map to the teacher's width."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = make_classifier(0)
        self.to_teacher = nn.Linear(WIDTH, 384)

    def forward(self, pixels: Tensor) -> Tensor:
        """The tokens, mapped to the teacher's width."""
        return self.to_teacher(self.trunk.forward_features(pixels))


def distil(work: Path) -> None:
    """Train the student on the teacher's tokens."""
    if not (work / "taught").exists():
        raise SystemExit(f"{work}: run `teach` first")
    torch.manual_seed(0)
    views, tokens = (np.load(work / f"{part}.npy", mmap_mode="r") for part in ("views", "tokens"))
    kept = np.random.default_rng(0).permutation(len(views))
    check, kept = np.sort(kept[:512]), kept[512:]

    def cosine(model: nn.Module, rows: np.ndarray) -> Tensor:
        pixels = normalise(torch.from_numpy(views[rows]).float() / 255)
        target = torch.from_numpy(tokens[rows]).float()
        per_token = F.cosine_similarity(model(pixels).float(), target, dim=-1)
        return (per_token[:, 0] + per_token[:, 1:].mean(1)) / 2  # CLS weighs as much as all patches: the twins read it

    def evaluate(model: nn.Module) -> dict[str, float]:
        with torch.inference_mode(), autocast():
            return {"cosine": round(cosine(model, check).mean().item(), 4)}

    def loss_of(model: nn.Module, step: int) -> Tensor:
        rows = kept[order(len(kept), step * DISTIL.batch, DISTIL.batch)]
        return 1 - cosine(model, np.sort(rows)).mean()

    model = Student()
    run("distil", model, [], DISTIL, loss_of, evaluate, work)
    safetensors.torch.save_file(model.trunk.state_dict(), work / "start.safetensors")


def rank_accuracy(logits_nc: Tensor, target_n: Tensor) -> dict[str, float]:
    """Top-1 and top-5 accuracy in percent."""
    ranks = (logits_nc > logits_nc.gather(1, target_n[:, None])).sum(1)
    return {f"top{k}": round((ranks < k).float().mean().item() * 100, 2) for k in (1, 5)}


def test_set(names: list[str]) -> tuple[Tensor, Tensor]:
    """Pixels and classes of the emoji in unseen styles."""
    emoji = load_emoji()
    emoji = emoji.where(~emoji.table["seen_style"] & emoji.table["seen_emoji"])
    position = {name: i for i, name in enumerate(names)}
    return normalise(clean_views(emoji.rgba_nchw)), torch.tensor([position[name] for name in emoji.table["name"]])


def batched(encode: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """Apply a function in batches without gradients."""
    with torch.inference_mode(), autocast():
        return torch.cat([encode(chunk).float() for chunk in pixels.split(256)])


def load_start(model: nn.Module, work: Path) -> None:
    """Load the distilled weights into the trunk of a twin."""
    start = safetensors.torch.load_file(work / "start.safetensors")
    missing, unexpected = trunk_of(model).load_state_dict(start, strict=False)
    assert not unexpected, unexpected
    assert all(key.startswith("head.") for key in missing), missing


def train_clip(work: Path) -> None:
    """Train the CLIP twin."""
    torch.manual_seed(0)
    emoji = training_images()
    names = class_names(emoji)
    table = load_emoji().table
    words = [*table["name"], *(tag for tags in table["tags"] for tag in tags), *table["subgroup"], *table["group"]]
    tokenizer = MiniTokenizer.from_texts([text for word in words for text in (word, f"{word},")], CONTEXT_LENGTH)
    tokenizer.save(work / "vocabulary.json")
    model = make_clip(tokenizer.vocabulary_size)
    load_start(model, work)
    pixels_test, target_test = test_set(names)
    name_ids = tokenizer(names)

    def loss_of(model: nn.Module, step: int) -> Tensor:
        rows, pixels = views_of(emoji, step * CLIP.batch, CLIP.batch)
        rng = np.random.default_rng((2, step))
        chosen = emoji.table.iloc[rows]
        texts = [caption(name, list(tags), rng) for name, tags in zip(chosen["name"], chosen["tags"], strict=True)]
        image, text, scale = model(normalise(pixels), tokenizer(texts))
        logits = scale.clamp(max=100).float() * image.float() @ text.float().T
        target = torch.arange(len(logits))
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    def evaluate(model: nn.Module) -> dict[str, float]:
        text = batched(lambda ids: model.encode_text(ids, normalize=True), name_ids)
        image = batched(lambda pixels: model.encode_image(pixels, normalize=True), pixels_test)
        return rank_accuracy(image @ text.T, target_test)

    run("clip", model, list(model.visual.trunk.parameters()), CLIP, loss_of, evaluate, work)


def train_supervised(work: Path) -> None:
    """Train the supervised twin."""
    torch.manual_seed(0)
    emoji = training_images()
    names = class_names(emoji)
    position = {name: i for i, name in enumerate(names)}
    target = torch.tensor([position[name] for name in emoji.table["name"]])
    model = make_classifier(len(names))
    load_start(model, work)
    pixels_test, target_test = test_set(names)

    def loss_of(model: nn.Module, step: int) -> Tensor:
        rows, pixels = views_of(emoji, step * SUPERVISED.batch, SUPERVISED.batch)
        return F.cross_entropy(model(normalise(pixels)).float(), target[rows], label_smoothing=0.1)

    head = {id(p) for p in model.get_classifier().parameters()}
    trunk = [p for p in model.parameters() if id(p) not in head]

    def evaluate(model: nn.Module) -> dict[str, float]:
        return rank_accuracy(batched(model, pixels_test), target_test)

    run("supervised", model, trunk, SUPERVISED, loss_of, evaluate, work)


def export(work: Path) -> None:
    """Copy the trained weights into the package as float16."""
    (data_path("vocabulary.json")).write_bytes((work / "vocabulary.json").read_bytes())
    (data_path("classes.json")).write_text(json.dumps(class_names(training_images()), ensure_ascii=False, indent=0))
    for name, file in (("distil", "distilled"), ("clip", "clip"), ("supervised", "supervised")):
        stored = torch.load(work / f"{name}.pt", weights_only=True)
        state = {key.removeprefix("trunk."): value for key, value in stored["model"].items() if "to_teacher" not in key}
        half = {key: value.half().contiguous() for key, value in state.items()}
        data_path(f"{file}.safetensors").write_bytes(safetensors.torch.save(half))
        data_path(f"{file}.history.json").write_text(json.dumps(stored["history"]))


def main() -> None:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["teach", "distil", "clip", "supervised", "export"])
    parser.add_argument("--work", type=Path, default=Path("build/mini"))
    parser.add_argument("--teacher", type=Path, help="the file that recipes/dinov2.py prints (for `teach`)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    if args.step == "teach":
        if args.teacher is None:
            sys.exit("teach needs --teacher FILE: the path that `python recipes/dinov2.py` prints")
        teach(args.work, args.teacher)
    else:
        {"distil": distil, "clip": train_clip, "supervised": train_supervised, "export": export}[args.step](args.work)


if __name__ == "__main__":
    main()
