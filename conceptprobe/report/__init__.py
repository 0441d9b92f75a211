"""Static HTML reports: a folder that opens from file:// with the network off, and can be put on any web host.

`models` brings indices, scores, names and contrasts together, `gallery` numbers the images that occur; `catalogue`,
`features`, `concepts`, `contrasts`, `visualizations` and `maps` make the data, `scripts` writes them as files that a
page can load, `thumbnails` the images, and `write` puts the folder together. `static/` is plain JavaScript and CSS,
read by the browser as it is.
"""

import lazy_loader

# The names are in `__init__.pyi`; a part is imported when it is first used: `conceptprobe serve` needs no model.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
