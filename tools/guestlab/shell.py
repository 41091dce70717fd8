# SPDX-License-Identifier: BSD-3-Clause
"""Commands in a guest, over a serial line on which init.sh listens.

    guest: READY
    host:  RUN <id> <command in base64>
    guest: BEGIN <id> / <output, gzip in base64, in lines> / END <id> <status>

Base64 keeps whatever a command prints from looking like the protocol, and the id, never used twice, keeps an
answer that came too late from being taken for the next one. Each byte costs an exit from the guest (in a nested
one half a millisecond), hence gzip; the line is still not one for bulk data.
"""
import base64
import dataclasses
import gzip
import itertools


@dataclasses.dataclass(frozen=True)
class Result:
    status: int
    output: str  # standard output and standard error as they came


class Shell:
    def __init__(self, line, wait):
        """wait(predicate, timeout, what): blocks until predicate() is true, as Guest.wait does."""
        self._line = line
        self._wait = wait
        self._ids = itertools.count(1)
        self._seen = 0  # how many lines of the guest's have been dealt with

    def wait_ready(self, timeout, what="the guest to be ready"):
        """Waits until a guest that has just been started, or restarted, takes commands."""
        self._find(lambda line: line == "READY", timeout, what)

    def run(self, command, timeout):
        """Runs a script of the guest's sh, its standard input empty; its Result."""
        number = self.send(command)
        answer = self._find(lambda line: line.startswith(f"END {number} "), timeout, f"'{command}' to end")
        begin = answer.index(f"BEGIN {number}")
        output = gzip.decompress(base64.b64decode("".join(answer[begin + 1 : -1])))
        return Result(int(answer[-1].split()[2]), output.decode(errors="replace"))

    def send(self, command):
        """Has a script run and does not wait for its answer; its id. For the one that ends the guest."""
        number = next(self._ids)
        self._line.send(f"RUN {number} {base64.b64encode(command.encode()).decode()}\n")
        return number

    def _find(self, wanted, timeout, what):
        """Waits for a wanted line; all lines up to it."""
        end = self._seen

        def arrived():
            nonlocal end
            while end < len(self._line.lines):
                end += 1
                if wanted(self._line.lines[end - 1]):
                    return True
            return False

        self._wait(arrived, timeout, what)
        answer = self._line.lines[self._seen : end]
        self._seen = end
        return answer
