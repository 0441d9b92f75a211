"""Errors that a user can cause. Each says what was given, what is allowed, and what to do next."""


class ConceptProbeError(Exception):
    """Base of all errors meant for the user; the CLI prints its message without a traceback."""


class DisplayError(ConceptProbeError):
    """A result cannot be drawn."""


class FeatureNameError(ConceptProbeError):
    """A text does not name a feature."""


class OutputError(ConceptProbeError):
    """A folder cannot be written or read as a result."""


class FolderBusyError(OutputError):
    """Another process writes to the same folder."""
