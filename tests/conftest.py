# SPDX-License-Identifier: BSD-3-Clause
"""What every VM test can ask for; docs/testing.md explains it."""
import contextlib
import os
import pathlib
import re
import shutil
import tempfile

import comparison
import pytest
from guestlab import Guest, Process, accelerator, paths

comparison.install()


LOGS = pytest.StashKey[pathlib.Path]()
FAILED = pytest.StashKey[bool]()
SHARED = pytest.StashKey[list]()


@pytest.fixture
def logs(request):
    """A folder for the logs of this test, build/test-logs/NAME; kept if the test fails."""
    return _log_folder(request.node)


@pytest.fixture(scope="module")
def shared_logs(request):
    """As logs, for what the tests of a module share; kept if one of them fails."""
    request.session.stash.setdefault(SHARED, []).append(request.node)
    return _log_folder(request.node)


def _log_folder(node):
    folder = paths.TEST_LOGS / re.sub(r"[^\w.-]+", "-", node.nodeid.removeprefix("tests/")).strip("-")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    node.stash[LOGS] = folder
    return folder


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Has a failure's report say where the logs are, and removes them once all of a test went well, its end too."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for node in (item, item.getparent(pytest.Module)):
            node.stash[FAILED] = True
            if LOGS in node.stash:
                report.sections.append(("logs of the guests and programs", str(node.stash[LOGS])))
    if report.when == "teardown":
        _remove_logs(item)


def pytest_sessionfinish(session):
    for module in session.stash.get(SHARED, []):
        _remove_logs(module)


def _remove_logs(node):
    if LOGS in node.stash and not node.stash.get(FAILED, False):
        shutil.rmtree(node.stash[LOGS])


@pytest.fixture
def cleanup():
    """An ExitStack for whatever must end with the test."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def folder(cleanup):
    """A short path, for sockets."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="ob-"))
    cleanup.callback(shutil.rmtree, path, ignore_errors=True)
    return path


@pytest.fixture
def boot(logs, cleanup):
    """boot(**options of Guest): a guest that is ready, and ended with the test."""

    def boot_guest(name="guest", **options):
        return cleanup.enter_context(Guest(logs / name, **options))

    return boot_guest


@pytest.fixture
def spawn(logs, cleanup):
    """spawn(argv, inherit=[...]): a guestlab.Process that is ended with the test; it logs into NAME.log."""

    def spawn_process(argv, name=None, **options):
        name = name or pathlib.Path(argv[0]).name
        return cleanup.enter_context(Process(argv, logs / f"{name}.log", **options))

    return spawn_process


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Fails a test that leaves a child process or a descriptor behind."""
    before = _belongings()
    yield
    left = _belongings() - before
    assert not left, f"left behind: {sorted(left)}"


def _belongings():
    descriptors = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists the folder
            descriptors.add(f"descriptor {name}: {os.readlink(f'/proc/self/fd/{name}')}")
    children = pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return descriptors | {f"process {pid} {pathlib.Path(f'/proc/{pid}/comm').read_text().strip()}" for pid in children}


def pytest_collection_modifyitems(items):
    """A test that needs irqfd says so where there is none, instead of failing for a reason of its own."""
    if any(item.get_closest_marker("irqfd") for item in items) and accelerator() != "kvm":
        skip = pytest.mark.skip(reason="needs KVM's irqfd: run it by tools/nested, or ./dev test nested")
        for item in items:
            if item.get_closest_marker("irqfd"):
                item.add_marker(skip)


def pytest_report_header():
    return f"guests run on {accelerator()}"
