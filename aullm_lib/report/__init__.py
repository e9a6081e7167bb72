"""Scores -> tables and figures, each with its provenance beside it."""

from aullm_lib.report.results import seen, summary

__all__ = ["seen", "summary"]
