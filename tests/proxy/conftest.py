# SPDX-License-Identifier: BSD-3-Clause
import proxylab
import pytest


@pytest.fixture
def lab(spawn, cleanup):
    return proxylab.Lab(spawn, cleanup)


@pytest.fixture
def free_port():
    return proxylab.free_port
