"""Celery tasks, thin: parse, call models, tell. Imports models and never web."""
