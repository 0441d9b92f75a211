"""The indices, scores and contrast that are drawn."""

from tests.report.conftest import image_folder, make_index, make_source, make_world, world

__all__ = ["image_folder", "make_index", "make_source", "make_world", "world"]
