"""Errors of probes."""

from conceptprobe.errors import ConceptProbeError


class ProbeError(ConceptProbeError):
    """A probe cannot run with these models, images or settings."""
