# SPDX-License-Identifier: BSD-3-Clause
import subprocess

import pytest
from server import BACKDOOR, EXERCISE, Server

LIBRARY = """
#include <stdint.h>
#include <string.h>

/* Adds the command to the number at the start of the data channel. */
void backdoor(uint64_t command, void *data)
{
    uint64_t number;
    memcpy(&number, data, sizeof(number));
    number += command;
    memcpy(data, &number, sizeof(number));
}
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    (folder / "adder.c").write_text(LIBRARY)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "adder.so", folder / "adder.c"], check=True)
    return folder / "adder.so"


@pytest.fixture
def exercise(tmp_path):
    """The device that does whatever its registers say, over vfio-user."""
    server = Server(tmp_path, EXERCISE)
    yield server
    server.end()


@pytest.fixture
def backdoor(tmp_path, library):
    """outboard-backdoor over vfio-user."""
    server = Server(tmp_path, BACKDOOR, f"--library={library}")
    yield server
    server.end()
