"""Several processes that share one address: a parent starts them, passes signals on, and starts again what died.

The parent serves nothing itself and runs no event loop, so that a worker is a plain fork of it, with most of its
memory in common. Each worker is a replica of its own: it has a name, a ledger's file and an admin listener.
"""

import gc
import json
import mmap
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import click
import structlog

from proxy.app import StartError
from proxy.app.joining import replica_name
from proxy.app.reload import kept_until_restart, read_again
from proxy.cli.banner import Page, banner
from proxy.cli.ledger_place import files_left_alone
from proxy.cli.running import Job, run, tell_not_taken, tell_why_not
from proxy.cli.service_manager import tell_ending, tell_reloading, tell_serving
from proxy.cli.shared_address import shared_address
from proxy.cli.worker import END, RELOAD, Membership, ignore_signals
from proxy.core.settings.settings import Address, Settings
from proxy.core.settings.worker import worker_settings
from proxy.edge.admin.errors import AdminTokenError, ReloadError
from proxy.edge.admin.token import admin_token
from proxy.engine.failures import log_failure
from proxy.engine.settling.counting import load_built_in

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds before a worker that died is started again: twice as long with each time, up to this."""
STEADY_SECONDS: Final = 60.0
"""A worker that lived so long is started again as if it had never died."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_READ: Final = 4096

log = structlog.get_logger()


def run_workers(job: Job) -> None:
    """Run as many workers as the settings want, until a signal ends them; leaves the process with an exit code."""
    settings = job.settings
    try:
        is_named = settings.admin.token is not None or settings.admin.token_file is not None
        token = None if is_named else admin_token(settings)
        with shared_address(settings.listen) as listen:
            code = Parent(job, listen, replica_name(settings), token).run()
    except (StartError, AdminTokenError) as error:
        tell_why_not(error)
        code = 1
    sys.exit(code)


@dataclass(slots=True)
class _Worker:
    """A worker that lives. `admin_port` is 0 until it serves, `said` the begin of a line that it sends.

    `code` lets into its page once; it is there at a terminal only.
    """

    number: int
    pid: int
    channel: socket.socket
    began: float
    admin_port: int = 0
    code: str | None = None
    said: bytes = b""


@dataclass(slots=True)
class _Again:
    """When a worker is to be started again, and how often it died in a row."""

    at: float = 0.0
    deaths: int = 0
    waits: bool = False


class Parent:
    """Starts the workers and looks after them."""

    def __init__(self, job: Job, listen: Address, replica: str, token: str | None) -> None:
        """Ready to run; `listen` is kept for the workers, `replica` and `token` are for all of them."""
        self._job, self._settings = job, job.settings
        self._listen, self._replica, self._token = listen, replica, token
        self._board = mmap.mmap(-1, 1)
        self._selector = selectors.DefaultSelector()
        self._signals, self._waker = socket.socketpair()
        self._workers: dict[int, _Worker] = {}
        self._again = {number: _Again() for number in range(1, job.settings.workers + 1)}
        self._is_ending = False
        self._code = 0

    def run(self) -> int:
        """Run until every worker has ended for good; gives the exit code."""
        for end in (self._signals, self._waker):
            end.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno())
        for number in _SIGNALS:
            signal.signal(number, _heard)
        self._selector.register(self._signals, selectors.EVENT_READ)
        if found := files_left_alone(self._settings):
            log.warning("ledger.left_alone", files=found, hint="another number of workers wrote them; none opens them")
        load_built_in()
        gc.collect()
        gc.freeze()  # so that a worker's collector does not copy what it shares with its parent
        for worker in self._again:
            self._start(worker)
        while self._workers or any(again.waits for again in self._again.values()):
            self._look()
        return self._code

    def _look(self) -> None:
        """Wait for something to do, and do it."""
        for key, _ in self._selector.select(self._patience()):
            if key.fileobj is self._signals:
                self._take_signals()
            else:
                self._listen_to(key.data)
        now = time.monotonic()
        for number, again in self._again.items():
            if again.waits and again.at <= now:
                again.waits = False
                self._start(number)

    def _patience(self) -> float | None:
        waiting = [again.at for again in self._again.values() if again.waits]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    # What the outside says.

    def _take_signals(self) -> None:
        for number in self._signals.recv(_READ):
            if number == signal.SIGHUP:
                self._reload()
            elif number in _SIGNALS:
                self._end()

    def _end(self) -> None:
        """Let every worker drain; when they do already, let them end at once."""
        if not self._is_ending:
            tell_ending(self._settings.drain.ready_delay + self._settings.drain.timeout)
        self._is_ending = True
        for again in self._again.values():
            again.waits = False
        self._tell(END)

    def _reload(self, but: int = 0) -> None:
        """Look at the new settings, and let every worker take them, except one that did."""
        is_serving = self._board[0] == 1 and not self._is_ending
        if is_serving:
            tell_reloading()
        try:
            fresh = read_again(self._job.reread)
        except ReloadError as error:
            tell_not_taken(error)
            return
        finally:
            if is_serving:
                tell_serving()
        kept = kept_until_restart(self._settings, fresh)
        self._settings = fresh.model_copy(update=kept)  # for a worker that is started again
        self._tell(RELOAD, but)

    def _tell(self, word: bytes, but: int = 0) -> None:
        for worker in self._workers.values():
            if worker.number != but:
                with suppress(OSError):  # it has just died
                    worker.channel.send(word)

    # What a worker says.

    def _listen_to(self, worker: _Worker) -> None:
        try:
            said = worker.channel.recv(_READ)
        except OSError:
            said = b""
        if not said:
            self._bury(worker)
            return
        *lines, worker.said = (worker.said + said).split(b"\n")
        for line in lines:
            news = json.loads(line)
            if "reloaded" in news:
                self._reload(worker.number)
            else:
                worker.admin_port, worker.code = news["admin_port"], news["code"]
                self._has_come_up(worker)

    def _has_come_up(self, worker: _Worker) -> None:
        if self._board[0]:
            log.info("worker.up", worker=worker.number, pid=worker.pid)
            return
        workers = sorted(self._workers.values(), key=lambda each: each.number)
        pages = [Page(each.admin_port, each.code) for each in workers]
        if all(page.port for page in pages) and len(pages) == len(self._again):
            self._board[0] = 1
            settings = self._settings.model_copy(update={"listen": self._listen})
            click.echo(banner(settings, self._replica, self._listen.port, pages, self._job.model, None), err=True)
            tell_serving()

    def _bury(self, worker: _Worker) -> None:
        """A worker has ended: start it again after a while, unless all shall end."""
        self._selector.unregister(worker.channel)
        worker.channel.close()
        del self._workers[worker.number]
        code = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
        if self._is_ending:
            if code:
                self._code = 1
                log.error("worker.failed", worker=worker.number, pid=worker.pid, code=code)
        elif not self._board[0]:
            self._code = 1
            log.error("worker.not_started", worker=worker.number, pid=worker.pid, code=code)
            self._end()
        else:
            self._start_later(worker, code)

    def _start_later(self, worker: _Worker, code: int) -> None:
        again = self._again[worker.number]
        now = time.monotonic()
        again.deaths = 1 if now - worker.began >= STEADY_SECONDS else again.deaths + 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (again.deaths - 1))
        again.at, again.waits = now + pause, True
        log.error("worker.died", worker=worker.number, pid=worker.pid, code=code, again_in=pause)

    # Starting one.

    def _start(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # the child must not hear with the parent's ears
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._become(number, theirs, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        ours.setblocking(False)
        self._workers[number] = worker = _Worker(number, pid, ours, time.monotonic())
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def _become(self, number: int, channel: socket.socket, mask: set[int | signal.Signals]) -> None:
        """Be that worker, in its own process, which ends here."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            ignore_signals()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._selector.close()
            for other in (self._signals, self._waker, *(each.channel for each in self._workers.values())):
                other.close()  # a channel ends with its parent, so that nobody else may hold it
            channel.setblocking(False)
            structlog.contextvars.bind_contextvars(worker=number)
            run(self._job_of(number, Membership(number, channel, self._board)))
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException as error:  # noqa: BLE001 nothing may unwind into what was the parent's
            log_failure("worker.failed", error)
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code)

    def _job_of(self, number: int, member: Membership) -> Job:
        """What a worker runs."""

        def own(settings: Settings) -> Settings:
            return worker_settings(settings, number, listen=self._listen, replica=self._replica, token=self._token)

        reread = self._job.reread
        again = None if reread is None else lambda: own(reread())
        return replace(self._job, settings=own(self._settings), reread=again, member=member)


def _heard(_number: int, _frame: object) -> None:
    """A signal is written to the waker by Python itself; a handler must be there for that."""
