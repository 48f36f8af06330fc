"""`quell tail`: the text of a generation as it comes. The only place that uses aiohttp-sse-client.

That library reconnects for ever after a stream's end, logs what it raises, and keeps aiohttp's timeout of five minutes;
here it only reads one GET to its end.
"""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
import click
from aiohttp_sse_client.client import EventSource

from proxy.cli.admin_client import AdminClient, CommandError, Exit, escaped
from proxy.cli.admin_options import talks_to_proxy
from proxy.cli.output import how_much, say
from proxy.cli.repeating import INTERRUPTED
from proxy.cli.tail_keys import stopped_by_key
from proxy.cli.whole_id import with_whole_id

TRIES: Final = 5
"""So often a broken connection is taken up again behind the last event, while the generation runs."""

SILENT: Final = "the replica that runs it does not answer, so its text can't be shown now; try again"

PAUSE: Final = 0.2
"""Seconds until a replica that did not answer is asked again."""

LONGEST_LINE: Final = 8 * 2**20
CONNECT_SECONDS: Final = 10.0
_RUNNING: Final = "running"
_NOT_KEPT: Final = "its text is not kept, its numbers are (ledger.text, ledger.text_keep)"
_UNAVAILABLE: Final = 503
_ESCAPES: Final = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)], "\N{REPLACEMENT CHARACTER}")
"""Control characters but tab and line end: a model must not steer the terminal."""


class _EndOfStreamError(Exception):
    """Raised out of the library when the stream is over, before it would wait and connect again."""


@click.command()
@click.argument("any_id", metavar="ID")
@talks_to_proxy
def tail(client: AdminClient, any_id: str) -> None:
    """Show the text of generation ID from its start, live.

    On a terminal `s` stops the generation. Ctrl-C only ends the show: the generation goes on. Of an id that Quell made
    the first characters are enough, if no other one begins with them.
    """
    logging.getLogger("aiohttp_sse_client").setLevel(logging.CRITICAL + 1)
    record = with_whole_id(client, any_id, lambda whole: _record(client, whole))
    if record.get("text_hidden"):
        raise CommandError("the admin token may not see what models wrote (admin.tokens: text)", Exit.NOT_ALLOWED)
    message_id = record["message_id"]
    try:
        shown = asyncio.run(_watch(client, message_id, is_live=record["outcome"] == _RUNNING))
    except KeyboardInterrupt:
        click.echo(err=True)
        say("no longer shown; the generation goes on by itself")
        sys.exit(INTERRUPTED)
    record = _record(client, message_id)
    if not shown and record["text"]:
        _write(record["text"])
    click.echo()
    if not shown and not record["text"] and record["characters"]:
        say(_NOT_KEPT)
    say(_ending(record))


def _record(client: AdminClient, any_id: str) -> dict[str, Any]:
    return client.get(f"/generations/{escaped(any_id)}")


async def _watch(client: AdminClient, message_id: str, *, is_live: bool) -> bool:
    if not is_live:
        return await _follow(client, message_id)
    async with stopped_by_key(client, message_id):
        return await _follow(client, message_id)


def text_of(data: str) -> str:
    """The new text of the first choice in one event of OpenAI's APIs: chat, completions, or a whole answer."""
    try:
        choices = json.loads(data).get("choices") or ()
        parts = [_part(choice) for choice in choices if choice.get("index", 0) == 0]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return ""
    return "".join(part for part in parts if isinstance(part, str))


def _part(choice: dict[str, Any]) -> Any:
    said = choice.get("delta") or choice.get("message") or {}
    return choice.get("text") or said.get("content") or said.get("refusal")


async def _follow(client: AdminClient, message_id: str) -> bool:
    """Show the stream to its end; False when there was no text to show in it."""
    last, shown, tries = "0", False, TRIES
    while True:
        try:
            async for event_id, data in _events(client, message_id, last):
                last, tries = event_id or last, TRIES
                if text := text_of(data):
                    shown = True
                    _write(text)
        except BrokenPipeError:  # whoever read our output has left
            raise
        except (aiohttp.ClientError, ConnectionError, UnicodeDecodeError, ValueError) as error:
            is_silent = isinstance(error, aiohttp.ClientResponseError) and error.status == _UNAVAILABLE
            if not is_silent and not await _still_runs(client, message_id):
                return shown
            tries -= 1
            if not tries:
                raise CommandError(SILENT if is_silent else _broken(error)) from error
            await asyncio.sleep(PAUSE if is_silent else 0)
        else:
            return shown


async def _still_runs(client: AdminClient, message_id: str) -> bool:
    record = await asyncio.to_thread(client.get, f"/generations/{message_id}")
    return bool(record["outcome"] == _RUNNING)


def _broken(error: Exception) -> str:
    return f"the stream broke off ({type(error).__name__}); the generation still runs"


async def _events(client: AdminClient, message_id: str, after: str) -> AsyncIterator[tuple[str, str]]:
    """Number and data of each event behind `after`, to the end of the stream."""

    def ended() -> None:
        raise _EndOfStreamError

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    headers = {**client.headers(), "Last-Event-ID": after}
    async with aiohttp.ClientSession(timeout=timeout, read_bufsize=LONGEST_LINE, raise_for_status=True) as session:
        source = EventSource(
            client.events_url(message_id),
            session=session,
            max_connect_retry=0,
            headers=headers,
            allow_redirects=False,
        )
        async with source:
            source._on_error = ended  # noqa: SLF001 set later: a refused connection must keep its own error
            try:
                async for event in source:
                    yield event.last_event_id, event.data
            except _EndOfStreamError:
                return


def _write(text: str) -> None:
    click.echo(text.translate(_ESCAPES), nl=False)


def _ending(record: dict[str, Any]) -> str:
    if record["outcome"] == _RUNNING:
        return "the stream is over; the record is being written"
    cause = f" by {record['cause']}" if record["cause"] else ""
    return f"{record['outcome']}{cause}{how_much(record['completion_tokens'], record['characters'])}"
