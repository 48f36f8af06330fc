"""Replicas on the same database of the bus that sign with another secret: each would miss the others without a word.

Every name there depends on the secret, but for one: a sorted set in which each replica leaves the mark of its secret,
which its keys begin with, and its name, by the end of its lease. The secret can't be had from that.
"""

import re
from typing import Final

import structlog

from proxy.core.settings.scalar_types import NAME_PATTERN
from proxy.stores.bus.connect import milliseconds
from proxy.stores.bus.line import Line
from proxy.stores.bus.names import MARKS, Names

MOST: Final = 100
"""So many marks are looked at."""

MARK: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('TYPE', KEYS[1]).ok
if found ~= 'none' and found ~= 'zset' then redis.call('DEL', KEYS[1]) end  -- somebody's garbage
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now))
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZREVRANGE', KEYS[1], 0, ARGV[3])
"""
"""KEYS: marks. ARGV: own mark and name, lease in ms, how many more to give."""

_MEMBER: Final = re.compile(r"(?P<mark>[0-9a-f]{8}) (?P<name>.+)")
_NAME: Final = re.compile(NAME_PATTERN)

log = structlog.get_logger()


class Strangers:
    """Looks for them. `names`: those that are there now."""

    def __init__(self, line: Line, names: Names, replica: str, lease: float, place: str) -> None:
        """Ready to look; `lease` is in seconds, `place` is the bus's, for people."""
        self._line = line
        self._mark = names.secret_mark
        self._member = f"{names.secret_mark} {replica}"
        self._lease = lease
        self._place = place
        self.names: list[str] = []

    async def look(self) -> None:
        """Leave the own mark again, and look at the others; who was not there at the last look is told of once.

        Raises:
            BusUnavailableError: the bus can't be asked now.
        """
        said: list[bytes] = await self._line.eval(MARK, [MARKS], self._member, milliseconds(self._lease), MOST)
        parts = [_MEMBER.fullmatch(each.decode(errors="replace")) for each in said]
        others = {each["name"] for each in parts if each is not None and each["mark"] != self._mark}
        names = sorted(name for name in others if _NAME.match(name))
        if new := [name for name in names if name not in self.names]:
            log.error(
                "bus.another_secret",
                bus=self._place,
                replicas=new,
                why="another replica on this bus signs with another secret: neither finds or stops what the other runs",
                hint="give all the same bus.secret; another installation needs a database of its own (redis://HOST/1)",
            )
        elif self.names and not names:
            log.info("bus.one_secret", bus=self._place)
        self.names = names

    def leave(self) -> None:
        """Take the own mark away."""
        self._line.call("ZREM", MARKS, self._member)
