"""Dify's app API (dialects of floor 3): `app.py` has the endpoints, `translation.py` what a generation says."""
