# SPDX-License-Identifier: BSD-3-Clause
import contextlib
import os
import signal

import pytest
import zoo


@pytest.fixture(params=zoo.KINDS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


@pytest.fixture
def animals(kind):
    """animals(): one more of its kind; animals.made are all of them. They end with the test."""
    made = []

    def one_more():
        made.append(zoo.make(kind))
        return made[-1]

    try:
        zoo.make(kind).close()
    except zoo.Missing as missing:
        pytest.skip(str(missing))

    one_more.made = made
    yield one_more
    for animal in made:
        animal.close()


@pytest.fixture
def stopped():
    """stopped(process): a context in which a process does not run, so that what it is sent meanwhile it has alone
    afterwards, whatever the sender closes."""

    @contextlib.contextmanager
    def stop(process):
        os.kill(process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process.pid, signal.SIGCONT)

    return stop
