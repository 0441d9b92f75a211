from .errors import ReportError
from .write import write_report

__all__ = ["ReportError", "write_report"]
