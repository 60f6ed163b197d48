"""A command in the foreground, as if nobody stood between it and the shell.

Law: its signals are its own. What the terminal sends reaches the whole foreground group, the command included, so it
is not passed on (twice Ctrl-C would mean "now!" to many programs); what another process sends to us is.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

PASSED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGWINCH,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
# Python ignores these; a program must not inherit that, or `yes | head` would never end.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class CannotStart(Exception):
    """The command cannot be run. `status` is what a shell returns then: 127 not found, 126 not runnable."""

    def __init__(self, command: str, error: OSError) -> None:
        super().__init__(f"{command}: {error.strerror}")
        self.status = 127 if isinstance(error, FileNotFoundError) else 126


def become(command: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Turn this process into the command. Raises CannotStart."""
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(command[0], list(command), dict(environ))  # noqa: S606  (no shell is wanted)
    except OSError as error:
        raise CannotStart(command[0], error) from None


def accompany(
    command: Sequence[str], environ: Mapping[str, str], *, on_child: Callable[[], None] = lambda: None
) -> int:
    """Run the command beside this process; its exit status, 128+n when signal n ended it. Raises CannotStart.

    `on_child` is called whenever some child of this process has ended.
    """
    watched = {*PASSED, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        try:
            pid = os.posix_spawnp(
                command[0], list(command), dict(environ), setsigmask=before, setsigdef=_IGNORED_BY_PYTHON
            )
        except OSError as error:
            raise CannotStart(command[0], error) from None
        while True:
            received = signal.sigwaitinfo(watched)
            if received.si_signo == signal.SIGCHLD:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    code = os.waitstatus_to_exitcode(status)
                    return code if code >= 0 else 128 - code
                on_child()
            elif received.si_code <= 0:  # sent by a process; the kernel's own, such as the terminal's, are positive
                os.kill(pid, received.si_signo)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
