"""The Aitronos API (dialects of floor 3): `app.py` has its endpoints, `translation.py` what a response says."""
