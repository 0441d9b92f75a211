"""A folder of images and a small model, once for all tests of indices."""

import pytest

from conceptprobe.images import ImageSource, load_images
from conceptprobe.models import VisionModel, load_model
from tests.indexing.index_files import make_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ImageSource:
    return load_images(f"folder:{make_folder(tmp_path_factory.mktemp('images'), 90)}")


@pytest.fixture(scope="module")
def mini() -> VisionModel:
    return load_model("mini:supervised@random", device="cpu")
