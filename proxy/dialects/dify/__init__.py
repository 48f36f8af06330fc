"""Dify's app API (dialects of floor 3). `app.py` has its endpoints, `translation.py` and `workflow.py` its events."""
