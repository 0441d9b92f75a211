"""Errors that a user can cause. Each says what was given, what is allowed, and what to do next."""


class ConceptProbeError(Exception):
    """Base of all errors meant for the user; the CLI prints its message without a traceback."""
