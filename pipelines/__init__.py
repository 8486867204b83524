"""Beam pipelines and the command line, which put the other parts to work."""
