"""The models of Lucent: those of torchvision, and InceptionV1, which torch-lucent provides."""

from typing import Any

from torchvision import models as _models

from conceptprobe.lucent.baseline import real_lucent


def __getattr__(name: str) -> Any:
    if name == "inceptionv1":
        return real_lucent("modelzoo").inceptionv1
    return getattr(_models, name)
