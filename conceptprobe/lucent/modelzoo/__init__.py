"""The models that Lucent offers: torchvision's and, from torch-lucent itself, InceptionV1."""

from typing import Any

from torchvision import models as _models

from conceptprobe.lucent.baseline import real_lucent


def __getattr__(name: str) -> Any:
    if name == "inceptionv1":
        return real_lucent("modelzoo").inceptionv1
    return getattr(_models, name)
