"""How often is a model right, and what do the words around a class name change?

Source: zero-shot classification and prompt ensembling of Radford et al. 2021, arXiv 2103.00020, section 3.1.
"""

import numpy as np
import pandas as pd
import torch
from pydantic.dataclasses import dataclass

from conceptprobe.probes.framework.heads import ClassHead, ensemble_head, template_heads, template_texts
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import (
    CLEAN,
    Findings,
    Probe,
    answers,
    clean_response,
    published,
    rows_of,
    rows_of_metrics,
)
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.probes.framework.settings import Distinct
from conceptprobe.validation import CONFIG

TOP = 5
PROMPTS = ("{}", "a photo of a {}", "a photo of the small {}", "art of the {}", "itap of a {}")


@dataclass(frozen=True, config=CONFIG)
class ZeroShot:
    """Settings.

    Attributes:
        prompts: Texts with `{}` for the class name, used one by one and all together, or lists of them: "openai" (80)
            and "simple" (7). Empty uses only the head of the other probes, as do models with a classifier.
    """

    prompts: Distinct[str] = PROMPTS

    def __post_init__(self) -> None:
        if self.prompts:
            template_texts(self.prompts)


def check(probed: ProbedModel, images: ProbeImages, settings: ZeroShot) -> None:
    """Refuse prompts that the text tower cannot read with a class name."""
    prompt_heads(probed, images, settings)


def run(probed: ProbedModel, images: ProbeImages, settings: ZeroShot, seed: int) -> Findings:
    """The model's answers to the unchanged images, by the head that all probes use and by each prompt."""
    assert probed.head is not None, probed
    model, targets_n = probed.model, probed.head.targets(images.classes or ())
    response = clean_response(probed, images)
    assert response.scores_nc is not None, probed
    frames = metrics(CLEAN, response.scores_nc, targets_n, images.ids)
    heads = prompt_heads(probed, images, settings)
    if not heads:
        return Findings(pd.concat(frames, ignore_index=True))
    embeddings_nd = torch.from_numpy(response.embedding_nd).to(model.device)

    def scores_by(head: ClassHead) -> np.ndarray:
        return head(embeddings_nd).cpu().numpy()

    together_nc = scores_by(ensemble_head(heads))
    frames += metrics(Condition(f"all {len(heads)} prompts", 0), together_nc, targets_n, images.ids)
    together_n = answers(together_nc, targets_n)["correct"]
    for text, head in zip(template_texts(settings.prompts), heads, strict=True):
        prompt, scores_nc = Condition(text, 0), scores_by(head)
        frames += metrics(prompt, scores_nc, targets_n, images.ids)
        gained_n = together_n - answers(scores_nc, targets_n)["correct"]
        frames.append(rows_of("gain by all prompts", prompt, images.ids, gained_n))
    return Findings(pd.concat(frames, ignore_index=True))


def prompt_heads(probed: ProbedModel, images: ProbeImages, settings: ZeroShot) -> list[ClassHead]:
    """A head for each prompt, cached; none for a model with a classifier."""
    head = probed.head
    if head is None or head.kind != "zero-shot" or not settings.prompts:
        return []
    return images.memory.get(
        ("prompts", probed.model, head.classes, settings.prompts),
        lambda: template_heads(probed.model, head.classes, settings.prompts),
        lambda heads: sum(each.weights_dc.nbytes for each in heads if each.weights_dc is not None),
    )


def metrics(
    condition: Condition, scores_nc: np.ndarray, targets_n: np.ndarray, ids: tuple[str, ...]
) -> list[pd.DataFrame]:
    """Rows of `correct`, `probability` and, for more than five classes, `top-5`."""
    values = answers(scores_nc, targets_n)
    if scores_nc.shape[1] > TOP:
        values[f"top-{TOP}"] = (ranks(scores_nc, targets_n) < TOP).astype(float)
    return rows_of_metrics(values, condition, ids)


def ranks(scores_nc: np.ndarray, targets_n: np.ndarray) -> np.ndarray:
    """The rank of the right class, int64 [n] from 0; the earlier of equally scored classes comes first."""
    right_n1 = scores_nc[np.arange(len(targets_n)), targets_n][:, None]
    earlier_nc = np.arange(scores_nc.shape[1]) < targets_n[:, None]
    return np.asarray(((scores_nc > right_n1) | (scores_nc == right_n1) & earlier_nc).sum(1))


PROBE = Probe(
    name="zero_shot",
    question="How often does the model name an image rightly, and by which words?",
    source="Radford et al. 2021, arXiv 2103.00020, section 3.1",
    settings=ZeroShot,
    run=run,
    check=check,
    axes={"": "nothing: series are prompts"},
    needs=frozenset({"classes"}),
    context=published(
        "Radford et al. 2021",
        "paper",
        {
            f"{model}, ImageNet{name}": f"{value} %"
            for model, values in (
                ("RN101 (supervised)", {"": 76.2, "-V2": 64.3, "-R": 37.7, "-Sketch": 25.2, "-A": 2.7}),
                ("CLIP L/14@336 (zero-shot)", {"": 76.2, "-V2": 70.1, "-R": 88.9, "-Sketch": 60.2, "-A": 77.1}),
            )
            for name, value in values.items()
        },
    ),
)
