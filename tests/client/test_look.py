# SPDX-License-Identifier: BSD-3-Clause
"""A look at a device by `outboard inspect SOCKET`: it finds out the wire, ends nothing, and says what it meets."""
import contextlib
import socket
import subprocess
import threading

import mpqemu
import pytest
import server
import vfio_user
import vfio_user_server
from guestlab import paths

OUTBOARD = paths.BUILD / "root/bin/outboard"
PROGRAM = paths.BUILD / "root/libexec/outboard/outboard-backdoor"
FIRST_LINE = "1af4:10f0 memory controller [0500] (rev 00) (prog-if 00)"


def look(path, *options, command="inspect", words=()):
    argv = [OUTBOARD, command, *options, path, *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=mpqemu.PATIENCE_S, check=False)


@pytest.fixture(params=[None, "vfio-user", "mpqemu"], ids=["any wire", "vfio-user", "mpqemu"])
def device(request, tmp_path, library):
    made = server.Server(tmp_path, PROGRAM, f"--library={library}", wire=request.param)
    made.wire = request.param
    yield made
    made.end()


@contextlib.contextmanager
def vmm_of(device):
    """A VMM that is served by the device as long as this lasts."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(mpqemu.PATIENCE_S)
        sock.connect(str(device.path))
        if device.wire == "mpqemu":
            proxy = mpqemu.Proxy(sock)
            proxy.send(proxy.sysmem())
            assert proxy.config_read(0, 4) == 0x10F01AF4
        else:
            vfio_user.Client(sock).negotiate()
        yield


@pytest.mark.parametrize("option", [[], ["--wire=auto"]], ids=["default", "auto"])
def test_the_wire_is_found_out(device, option):
    for _ in range(2):
        done = look(device.path, *option)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[0] == FIRST_LINE


def test_poke_finds_it_out_too(device):
    done = look(device.path, command="poke", words=["read", "cfg", "0"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "0x10f01af4\n", "")


def test_a_busy_device_is_said_to_be_busy(device):
    with vmm_of(device):
        done = look(device.path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"outboard: {device.path}: the device is busy: it serves a VMM; try again when the VMM has gone\n"
    assert look(device.path).returncode == 0


def start_looking(path, *options):
    return subprocess.Popen([OUTBOARD, "inspect", "--wait", *options, path], stdout=subprocess.PIPE, text=True)


def test_waits_for_a_device_that_is_not_there_yet(tmp_path, library):
    looking = start_looking(tmp_path / "device.sock")
    device = server.Server(tmp_path, PROGRAM, f"--library={library}", wire=None)
    assert looking.communicate(timeout=mpqemu.PATIENCE_S)[0].splitlines()[0] == FIRST_LINE
    assert looking.returncode == 0
    device.end()


def test_waits_for_a_busy_device(device):
    with vmm_of(device):
        looking = start_looking(device.path)
        while "is busy" not in device.messages():
            assert looking.poll() is None
    assert looking.communicate(timeout=mpqemu.PATIENCE_S)[0].splitlines()[0] == FIRST_LINE


def test_waits_no_longer_than_it_was_told(tmp_path):
    done = look(tmp_path / "nobody", "--wait=0")
    assert done.returncode == 1 and "No such file or directory" in done.stderr
    done = look(tmp_path / "nobody", "--wait=1")
    assert done.returncode == 1 and "No such file or directory" in done.stderr


@pytest.mark.parametrize("word", ["--wait=", "--wait=x", "--wait=-1", "--wait=0x10"])
def test_times_that_are_none(tmp_path, word):
    assert look(tmp_path / "nobody", word).returncode == 2


@pytest.fixture
def listener(tmp_path):
    """Something that is no device: serves each connection by a function, in a thread."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "listener"))
        sock.listen(5)

        def serve(act):
            def run():
                with contextlib.suppress(OSError):
                    while True:
                        connection = sock.accept()[0]
                        with connection:
                            act(connection)

            threading.Thread(target=run, daemon=True).start()
            return tmp_path / "listener"

        yield serve
        sock.shutdown(socket.SHUT_RDWR)


def test_one_that_closes_speaks_neither(listener):
    done = look(listener(lambda connection: connection.recv(4096)))
    assert done.returncode == 1
    assert "speaks neither vfio-user nor mpqemu" in done.stderr


def refuse_as_http(connection):
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    while connection.recv(4096):
        pass


def test_one_of_another_protocol_is_no_device(listener):
    done = look(listener(refuse_as_http))
    assert done.returncode == 1
    assert "the listener is not a vfio-user device" in done.stderr


def test_one_that_says_nothing(listener):
    done = look(listener(lambda connection: connection.recv(4096, socket.MSG_WAITALL)), "--timeout-ms=100")
    assert done.returncode == 1
    assert "does not answer" in done.stderr and "serves another client, or is not a device" in done.stderr


def no_pci(server, message):
    return vfio_user.FOUR.pack(16, 0, 9, 5)


def no_config(server, message):
    index = vfio_user.REGION_INFO.unpack(message.payload)[2]
    return vfio_user.REGION_INFO.pack(32, 0, index, 0, 0, 0)


@pytest.mark.parametrize(
    "lies", [{vfio_user.GET_INFO: no_pci}, {vfio_user.GET_REGION_INFO: no_config}], ids=["flags", "no configuration space"]
)
def test_what_is_no_pci_device_is_called_that(listener, lies):
    done = look(listener(lambda connection: vfio_user_server.Server(connection.dup(), lies).run()))
    assert done.returncode == 1
    assert "the remote's device is not a PCI device" in done.stderr
    assert "memory" not in done.stderr
