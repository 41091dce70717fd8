# SPDX-License-Identifier: BSD-3-Clause
"""outboard run on configurations of the tests' own."""
import subprocess

import pytest
from guestlab import paths
from machinelab import Machine


@pytest.fixture(scope="session")
def faults():
    """The folder of the build whose device programs die where a test says (docs/testing.md)."""
    subprocess.run([paths.TREE / "dev", "faults", "build"], check=True)
    return paths.BUILD / "faults"


@pytest.fixture
def runtime(tmp_path_factory, monkeypatch):
    """The folder in which control sockets are made that no configuration names."""
    folder = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


@pytest.fixture
def machine(tmp_path, spawn):
    return Machine(tmp_path, spawn)


@pytest.fixture
def fake_qemu(machine):
    """fake_qemu(device...): a program called qemu that says it has these devices, and nothing else."""

    def make(*devices):
        lines = "".join(f'name "{device}", bus PCI\\n' for device in devices)
        return machine.script("qemu-fake", f"print('''{lines}''')")

    return make
