"""Scores -> tables and figures, each with its provenance beside it."""
