# SPDX-License-Identifier: BSD-3-Clause
"""A device that listens outlives whoever comes, and who comes while it has a peer is told so at once."""
import contextlib
import errno
import os
import signal
import socket
import stat
import struct
import subprocess

import mpqemu
import pytest
from conftest import PROGRAM
from registers import RAISE, command
from server import EXERCISE, Server
from vfio_user import CONFIG, EVENTFD, HEADER, INTX, PATIENCE_S, TRIGGER, VERSION, Client, Event, ServerError

IDS = 0x10F01AF4
BUSY_LINE = "the device is busy"


@pytest.fixture
def device(tmp_path, library):
    """outboard-backdoor as the documentation starts it: at a path, without --wire."""
    server = Server(tmp_path, PROGRAM, f"--library={library}", wire=None)
    yield server
    server.end()


def dial(server):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE_S)
    sock.connect(str(server.path))
    return sock


def ids(client):
    return struct.unpack("<I", client.read(CONFIG, 0, 4))[0]


def is_told_busy(client):
    with pytest.raises(ServerError) as caught:
        client.negotiate()
    return caught.value.errno == errno.EBUSY and client.at_end()


@pytest.mark.parametrize(
    "said",
    [b"", b"\0", b"hello there general\n", b"GET / HTTP/1.1\r\nHost: disk\r\n\r\n", bytes(16), bytes(4096), b"\xff" * 4096],
    ids=["nothing", "a byte", "a line", "http", "zeroes", "many zeroes", "ones"],
)
def test_whatever_is_said_the_next_one_is_served(device, said):
    with dial(device) as sock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(said)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            pass
    assert ids(device.client()) == IDS


GET_FEATURES = struct.pack("<III", 1, 1, 0)  # how a vhost-user front end begins


def test_a_vhost_user_front_end_is_refused_by_name(device):
    with dial(device) as sock:
        for byte in GET_FEATURES:
            sock.sendall(bytes([byte]))
        assert sock.recv(1) == b""
    assert ids(device.client()) == IDS
    assert "the peer's wire: got vhost-user, expected mpqemu" in device.messages()


def test_one_that_finds_the_device_busy_is_not_kept(device):
    client = device.client()
    with dial(device) as sock:
        sock.sendall(GET_FEATURES)
        assert sock.recv(1) == b""
    assert ids(client) == IDS


def test_wires_take_turns_and_leave_the_device_whole(device):
    for _ in range(2):
        with mpqemu.Proxy(dial(device)) as proxy:
            proxy.send(proxy.sysmem())
            assert proxy.config_read(0, 4) == IDS
        client = device.client()
        assert ids(client) == IDS
        client.close()


def test_silent_ones_do_not_hold_a_free_device(device):
    silent = [dial(device) for _ in range(20)]
    silent[-1].sendall(HEADER.pack(1, VERSION, 100, 0, 0))
    client = device.client()
    assert ids(client) == IDS
    for sock in silent:
        sock.close()
    assert ids(client) == IDS


def test_one_that_speaks_late_is_served(device):
    late = Client(dial(device))
    with dial(device) as other:
        other.sendall(b"x")
    late.negotiate()
    assert ids(late) == IDS


def test_who_comes_while_a_peer_is_served_is_told_at_once(device):
    served = device.client()
    for _ in range(3):
        assert is_told_busy(device.connect())
    assert ids(served) == IDS
    assert device.messages().count(BUSY_LINE) == 1
    served.close()
    assert ids(device.client()) == IDS


def test_who_speaks_mpqemu_while_a_peer_is_served_is_dropped(device):
    served = device.client()
    with mpqemu.Proxy(dial(device)) as proxy:
        proxy.send(proxy.sysmem())
        assert proxy.is_gone()
    assert ids(served) == IDS


def test_an_mpqemu_peer_is_not_disturbed_either(device):
    with mpqemu.Proxy(dial(device)) as proxy:
        proxy.send(proxy.sysmem())
        assert proxy.config_read(0, 4) == IDS
        assert is_told_busy(device.connect())
        assert proxy.config_read(0, 4) == IDS


def test_who_is_silent_while_a_peer_is_served_is_dropped(device):
    served = device.client()
    with dial(device) as silent:
        assert silent.recv(1) == b""
    assert ids(served) == IDS


def test_dead_ones_do_not_become_peers(device):
    served = device.client()
    for said in (b"", HEADER.pack(1, VERSION, 30, 0, 0), bytes(300)):
        with dial(device) as dead:
            dead.sendall(said)
    assert ids(served) == IDS
    served.close()
    assert ids(device.client()) == IDS


def test_who_comes_as_soon_as_the_peer_has_gone_is_served(device):
    """The device may see the new connection first."""
    for _ in range(200):
        client = device.client()
        client.close()


def test_a_flood_of_comers_leaves_the_peer_alone(device):
    served = device.client()
    served.read(CONFIG, 0, 4)
    before = device.descriptors()
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
            with contextlib.suppress(BlockingIOError):  # the queue is full: whoever floods waits
                sock.connect(str(device.path))
            assert ids(served) == IDS
            assert device.descriptors() <= before + 8
    assert ids(served) == IDS


def test_comings_and_goings_are_told(device):
    client = device.client()
    client.close()
    ids(device.client())
    lines = device.messages().splitlines()
    assert lines[0] == f"outboard-backdoor: a VMM has come: serving pid {os.getpid()} over vfio-user"
    assert lines[1] == "outboard-backdoor: the VMM has gone"


def test_the_launcher_hears_of_peers(device):
    ids(device.client())
    assert device.heard()[-1] == f"X_OUTBOARD_CLIENT=1\nSTATUS=serving pid {os.getpid()} over vfio-user"
    device.clients[0].close()
    ids(device.client())
    assert "X_OUTBOARD_CLIENT=0\nSTATUS=waiting for a peer" in device.heard()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_only_its_user_may_connect(device):
    assert mode(device.path) == 0o600


@pytest.mark.parametrize("wanted", ["0666", "660", "0"])
def test_the_socket_has_the_permissions_that_are_asked_for(tmp_path, library, wanted):
    old = os.umask(0o077)
    try:
        server = Server(tmp_path, PROGRAM, f"--library={library}", f"--socket-mode={wanted}")
    finally:
        os.umask(old)
    assert mode(server.path) == int(wanted, 8)
    server.end()


@pytest.mark.parametrize("wanted", ["rw", "1000", "8", "-1"])
def test_permissions_that_do_not_exist(tmp_path, wanted):
    done = subprocess.run(
        [PROGRAM, f"--socket-mode={wanted}", f"--socket-path={tmp_path}/s"], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 2 and "in octal" in done.stderr


def test_a_path_that_is_somebody_elses_now_stays(tmp_path, library):
    """Its socket was removed and another program has put its own there."""
    server = Server(tmp_path, PROGRAM, f"--library={library}")
    server.path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(server.path))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0
        assert server.path.exists()


@pytest.fixture
def activated(library, tmp_path):
    """activated(count): a device that was handed sockets as systemd does, and the socket's path."""
    processes = []

    def start(count=1, path=tmp_path / "handed.sock"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, open(tmp_path / "log", "w") as log:
            listener.bind(str(path))
            listener.listen(5)
            script = f'exec 3<&{listener.fileno()}; LISTEN_PID=$$ LISTEN_FDS={count} exec "$@"'
            processes.append(
                subprocess.Popen(
                    ["bash", "-c", script, "sh", PROGRAM, f"--library={library}"], pass_fds=[listener.fileno()], stderr=log
                )
            )
        return processes[-1], path

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_a_socket_from_the_service_manager_is_served_until_sigterm(activated):
    process, path = activated()
    for _ in range(2):
        client = Client.connect(path)
        client.negotiate()
        assert ids(client) == IDS
        client.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    assert path.exists(), "it is the service manager's"


def test_more_sockets_than_one_are_refused(activated, tmp_path):
    process, _ = activated(count=2)
    assert process.wait(PATIENCE_S) == 2
    assert "LISTEN_FDS: got 2 sockets, expected 1" in (tmp_path / "log").read_text()


def test_a_listening_descriptor_is_served(library, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(5)
        process = subprocess.Popen(
            [PROGRAM, f"--library={library}", f"--fd={listener.fileno()}"], pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL
        )
        for _ in range(2):
            client = Client.connect(tmp_path / "s")
            client.negotiate()
            assert ids(client) == IDS
            client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def test_an_interrupt_of_the_guest_before_is_not_the_next_ones(tmp_path):
    server = Server(tmp_path, EXERCISE)
    first = server.client()
    command(first, RAISE)
    first.close()
    second, event = server.client(), Event()
    second.set_irqs(INTX, EVENTFD | TRIGGER, 0, 1, fds=[event.fd])
    ids(second)
    assert event.take() == 0
    second.read(0, 0, 4)
    assert event.take() == 1, "a VMM that takes the guest further finds it"
    event.close()
    server.end()


def test_half_a_command_of_the_guest_before_is_forgotten(device):
    """The callee answers with the command and one, in the data's first eight bytes."""
    first = device.client()
    first.write(0, 0, b"\x05\0\0\0")
    first.close()
    second = device.client()
    second.write(0, 4, bytes(4))
    assert second.read(1, 0, 8) == b"\1" + bytes(7), "the callee was told 5, which this guest has not said"
