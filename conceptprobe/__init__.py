"""What does each feature of a vision model respond to, and is that an object or a concept?

Letters in tensor names: b batch, t tokens, p patches, c channels, h w pixels, f features, k rank, n images.
"""

import lazy_loader

# The names are in `__init__.pyi`. A module is imported when one of its names is first used, so `conceptprobe --help` is
# quick.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
