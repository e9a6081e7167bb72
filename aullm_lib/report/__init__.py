"""Scores -> tables and figures, each with its provenance beside it."""

from aullm_lib.report.results import summary

__all__ = ["summary"]
