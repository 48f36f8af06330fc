"""Floor 4: the composition root. `app.py` is the way in; the concrete parts meet here and nowhere else."""

from proxy.app.among import Among
from proxy.app.app import App
from proxy.app.errors import StartError

__all__ = ["Among", "App", "StartError"]
