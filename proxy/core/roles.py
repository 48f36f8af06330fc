"""The roles on the admin listener: each may do all that the ones before it may."""

from enum import StrEnum


class Role(StrEnum):
    """What the holder of a token may do. To see what models wrote is a right of its own."""

    VIEWER = "viewer"
    """Reads."""
    OPERATOR = "operator"
    """Also stops generations, and uses the playground."""
    ADMIN = "admin"
    """Also changes what is kept and in force: reload, purge, later truths."""

    def may(self, needed: "Role") -> bool:
        """Whether this role is enough where `needed` is asked for."""
        order = list(Role)
        return order.index(self) >= order.index(needed)
