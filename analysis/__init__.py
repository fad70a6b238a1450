"""Turns result files into verdicts, figures and one report; torch-free, and a stranger to the package that trains."""
