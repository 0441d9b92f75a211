"""Errors that a user can cause. Each message states the value, the allowed values and what to do next."""


class ConceptProbeError(Exception):
    """Base of all errors that a user can cause; the CLI prints the message without a traceback."""


class DisplayError(ConceptProbeError):
    """A result cannot be drawn."""


class FeatureNameError(ConceptProbeError):
    """A text does not name a feature."""


class OutputError(ConceptProbeError):
    """A folder cannot be written or read as a result."""


class FolderBusyError(OutputError):
    """Another process writes to the same folder."""
