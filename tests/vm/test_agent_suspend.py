# SPDX-License-Identifier: BSD-3-Clause
"""guest-suspend-ram, -disk and -hybrid: what our agent does beside what qemu-ga does, with systemd and without."""
import pytest
from agentdebian import PATIENCE_S, DebianGuest, SmallGuest, Wire
from agentlab import AgentError

AGENTS = ["stock", "ours"]
SYSTEMS = {"small": SmallGuest, "debian": lambda logs: DebianGuest(logs, has_lines=False)}


@pytest.fixture(params=["small", pytest.param("debian", marks=pytest.mark.long)])
def guest(request, shared_logs):
    with SYSTEMS[request.param](shared_logs) as guest:
        guest.start()
        yield guest


@pytest.mark.parametrize("name", AGENTS)
def test_ram(guest, name):
    """A suspend that succeeds has no answer; the same client's next request has one when the guest is awake."""
    boot_id = guest.read("/proc/sys/kernel/random/boot_id")
    with Wire(guest.paths()[name]) as wire:
        wire.send("guest-suspend-ram")
        guest.guest.qmp.wait_event("SUSPEND", PATIENCE_S)
        guest.guest.qmp.execute("system_wakeup")
        guest.guest.qmp.wait_event("WAKEUP", PATIENCE_S)
        wire.send("guest-sync", {"id": 4713})
        assert wire.receive() == {"return": 4713}
    assert guest.read("/proc/sys/kernel/random/boot_id") == boot_id


def test_refused(guest):
    """There is no swap for the memory. Ours comes first: with stock's, a kernel without systemd suspends its devices
    before it refuses, and the channel of ours loses bytes, which ends its session."""
    for mode in ("disk", "hybrid"):
        kinds = {}
        for name in reversed(AGENTS):
            with Wire(guest.paths()[name]) as wire, pytest.raises(AgentError) as error:
                wire.ask(f"suspend-{mode}")
            kinds[name] = error.value.kind
        assert kinds == dict.fromkeys(AGENTS, "GenericError"), mode
