"""Z1: whatever three tenants do on three replicas, in whatever order, nobody reaches what is another's."""

from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from support.tenants import Tenants, open_world

SHORT = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # each example takes its time: a failure is told as it was found
    database=None,
)


def test_tenants_never_meet(tmp_path: Path) -> None:
    """Starts, stops, reads, lists and bulk stops at random do what a model of ownership says, and nothing else."""
    with open_world(tmp_path) as world:
        machine = type("TheseTenants", (Tenants,), {"world": world})
        run_state_machine_as_test(machine, settings=SHORT)
        assert world.steps > 500
