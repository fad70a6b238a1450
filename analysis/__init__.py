"""Verdicts, figures and one report from result files; torch-free, and apart from the package that trains."""
