"""Starts the real program many times, quickly: everything is imported once, and each start is a fork of that.

Usage: python -m support.zygote CONFIG. For each line on standard input, the name of a log file, it forks a process that
runs `quell serve --config CONFIG` with its output in that file, and answers with the process id. A SIGKILL to that
process is the real thing: what it had not given to the kernel is gone.
"""

import os
import signal
import sys

import bpe_openai

from proxy.cli import main
from proxy.cli.serve import serve
from proxy.core.encodings import CL100K, O200K


def start(config: str, log: str) -> int:
    """Fork a process that serves; gives its process id."""
    pid = os.fork()
    if pid:
        return pid
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number in (1, 2):
        os.dup2(descriptor, number)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    try:
        main(["serve", "--config", config], standalone_mode=True)
    except SystemExit as end:
        os._exit(int(end.code or 0))
    os._exit(1)


if __name__ == "__main__":
    for encoding in (O200K, CL100K):
        bpe_openai.get_encoding(encoding)
    assert serve.name == "serve"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        print(start(sys.argv[1], line.strip()), flush=True)  # noqa: T201 the answer
