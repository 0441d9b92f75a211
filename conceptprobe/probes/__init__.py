"""Behavioural tests of models, down to single features."""

from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.result import ProbeResult, load_probe
from conceptprobe.probes.run import PROBES, run_probe

__all__ = ["PROBES", "ProbeError", "ProbeResult", "load_probe", "run_probe"]
