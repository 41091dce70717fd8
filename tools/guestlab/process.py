# SPDX-License-Identifier: BSD-3-Clause
"""A process on the host that cannot outlive us: QEMU, or a device program."""
import os
import pathlib
import subprocess

from guestlab.errors import GuestTimeout

# Long enough for any program to end that means to.
END_TIMEOUT_S = 10


class Process:
    """Starts a program whose output goes to a log file; a context manager that ends it.

    inherit: sockets or files of ours that the program gets under the same descriptor number. They are
    closed here, so that the program alone holds them and its end is seen at the other end.
    """

    def __init__(self, argv, log, inherit=(), env=None):
        self.argv = [os.fspath(word) for word in argv]
        self.log = pathlib.Path(log)
        with open(self.log, "wb") as output:
            self._popen = subprocess.Popen(
                # The kernel kills the program when the thread ends that started it, however it ends.
                ["setpriv", "--pdeathsig", "KILL", *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[file.fileno() for file in inherit],
                env=None if env is None else os.environ | env,
            )
        for file in inherit:
            file.close()
        self.pid = self._popen.pid

    @property
    def name(self):
        return pathlib.Path(self.argv[0]).name

    @property
    def running(self):
        return self._popen.poll() is None

    def wait(self, timeout=END_TIMEOUT_S):
        """Waits for its end; its exit status, or the negated number of the signal that killed it."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise GuestTimeout(f"{self.name} still runs after {timeout} s{self.log_tail()}") from None

    def signal(self, number):
        self._popen.send_signal(number)

    def terminate(self, timeout=END_TIMEOUT_S):
        """SIGTERM; its exit status."""
        self._popen.terminate()
        return self.wait(timeout)

    def kill(self):
        """SIGKILL; never fails, also when it is dead already."""
        self._popen.kill()
        self._popen.wait()

    def log_tail(self, lines=30):
        """The end of its log, to be put behind an error message."""
        return tail(self.log, lines)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def tail(log, lines=30):
    """The end of a log file, to be put behind an error message."""
    if not log.exists():
        return ""
    text = log.read_text(errors="replace").replace("\r", "").splitlines()[-lines:]
    return "".join(f"\n  {log.name}: {line}" for line in text)
