"""Tenants: steps at random of three callers on three replicas, against a model of who owns what."""

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from support.tenants import Tenants, open_world

EXAMPLES = 50
"""So many are run in one world: what an upstream and three ledgers keep of them stays small."""
STEPS = 60


@dataclass(slots=True)
class Figures:
    """What came of it."""

    steps: int = 0
    worlds: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The figures in words."""
        what = f"tenants: {self.steps} steps of 3 on 3 replicas, in {self.seconds:.0f} s and {self.worlds} worlds"
        return [f"{what}; answers that were another's, or not the truth: {len(self.faults)}"]


def wander(steps: int, start: int) -> Figures:
    """Do so many steps, or stop at the first that is wrong."""
    figures, began = Figures(), time.monotonic()
    while figures.steps < steps and not figures.faults:
        with tempfile.TemporaryDirectory(prefix="quell-tenants-") as folder, open_world(Path(folder)) as world:
            machine = seed(start + figures.worlds)(type("TheseTenants", (Tenants,), {"world": world}))
            try:
                run_state_machine_as_test(machine, settings=_settings())
            except Exception as error:  # noqa: BLE001 whatever is wrong is told as it is
                figures.faults += world.faults[:1] or [repr(error)[:2000]]
            figures.steps += world.steps
            figures.worlds += 1
            figures.seconds = time.monotonic() - began
    return figures


def _settings() -> settings:
    return settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        database=None,
    )
