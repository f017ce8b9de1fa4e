"""Meaning -> text -> tokens and labels: chat templates, spans that are learned, the stop contract."""
