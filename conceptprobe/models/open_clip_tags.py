"""The settings of open_clip's pretrained tags: activation function and preprocessing, which no weight file holds."""

import json
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from conceptprobe.models.errors import SpecError
from conceptprobe.models.spec import ModelSpec


def tags_of(architecture: str) -> list[str]:
    """The pretrained tags of an architecture."""
    tags: list[str] = open_clip.list_pretrained_tags_by_model(architecture)
    return tags


def tag_settings(architecture: str, tag: str) -> dict[str, Any]:
    """The arguments of `open_clip.create_model` that build an architecture with the settings of a tag.

    The input size is not among them: the architecture has it.
    """
    config = open_clip.get_pretrained_cfg(architecture, tag)
    preprocess = merge_preprocess_dict(PreprocessCfg(), config)
    del preprocess["size"]
    quick_gelu = config.get("quick_gelu", False) or open_clip.get_model_config(architecture).get("quick_gelu", False)
    return {"force_quick_gelu": quick_gelu, "force_preprocess_cfg": preprocess}


def weight_settings(spec: ModelSpec) -> dict[str, Any]:
    """The settings for a weight file or random weights: those of the named tag, or those that all tags share.

    Random weights were not trained with an activation function, so they take that of the architecture if tags differ.

    Raises:
        SpecError: The named tag is unknown, or none is named and the settings of the tags differ.
    """
    name = spec.architecture
    tags = tags_of(name)
    if spec.settings:
        if spec.settings not in tags:
            raise SpecError(
                f"{spec.text!r}: no tag {spec.settings!r}; the tags of {name} are {', '.join(tags) or 'none'}"
            )
        return tag_settings(name, spec.settings)
    if not tags:
        return {}
    settings = {tag: tag_settings(name, tag) for tag in tags}
    if spec.is_random and len({each["force_quick_gelu"] for each in settings.values()}) > 1:
        for each in settings.values():
            each["force_quick_gelu"] = False
    groups: dict[str, list[str]] = {}
    for tag, each in settings.items():
        groups.setdefault(json.dumps(each), []).append(tag)
    if len(groups) > 1:
        described = "; ".join(
            f"{_describe(settings[tags[0]], settings)} ({', '.join(tags)})" for tags in groups.values()
        )
        raise SpecError(
            f"{spec.text!r}: weights do not say with which settings they were trained, and the tags of {name} differ: "
            f"{described}. Write {spec.name}@TAG:{spec.weights} with a tag that has the settings of these weights"
        )
    return settings[tags[0]]


def _describe(settings: dict[str, Any], others: dict[str, dict[str, Any]]) -> str:
    """The settings of a tag that differ between tags."""
    parts = []
    if len({each["force_quick_gelu"] for each in others.values()}) > 1:
        parts.append("QuickGELU" if settings["force_quick_gelu"] else "GELU")
    for key, value in settings["force_preprocess_cfg"].items():
        if any(each["force_preprocess_cfg"][key] != value for each in others.values()):
            parts.append(f"{key} {value}")
    return ", ".join(parts)
