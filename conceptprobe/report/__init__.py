"""Static HTML reports: a folder that opens from file:// with the network off, and can be put on any web host.

`gallery` numbers the images that occur, `pages` decides what a page shows, `thumbnails` and `scripts` write the data,
`write` puts the folder together. `static/` is plain JavaScript and CSS, read by the browser as it is.
"""

from conceptprobe.report.write import ReportError, write_report

__all__ = ["ReportError", "write_report"]
