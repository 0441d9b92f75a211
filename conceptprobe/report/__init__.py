"""Static HTML reports: a folder that opens from file:// with the network off, and can be put on any web host.

`collect/` matches scores, names, contrasts and probes with the indices of the report. `pictures/` numbers and writes
the images. `data/` makes the data of each page, `scripts` writes them as files that a page can load, and `write` puts
the folder together. `static/` is plain JavaScript and CSS, which the browser reads as it is; `static.d.ts` has its
types, which `make lint` checks.
"""

import lazy_loader

# The names are in `__init__.pyi`. Each is imported when it is first used: `conceptprobe serve` needs no model.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
