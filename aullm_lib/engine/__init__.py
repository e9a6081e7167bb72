"""Experiments to run folders: ``run`` trains and tests what is missing, here or on a Ray cluster."""

from aullm_lib.engine.runner import check, run, run_all
from aullm_lib.runs import Diverged
from aullm_lib.support.memory import OutOfMemory

__all__ = ["Diverged", "OutOfMemory", "check", "run", "run_all"]
