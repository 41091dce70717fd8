# SPDX-License-Identifier: BSD-3-Clause
"""An application that goes is noticed in every state, and what it had sent before is not lost for that."""
import os
import select
import socket
import struct
import subprocess
import threading

import pytest

from apps import is_reset, pattern, receive, send_until_blocked
from proxylab import PATIENCE_S, PROGRAM

INPUT_WINDOW = 262144  # of `run`; docs/proxy.md


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def is_told(sock):
    """Whether a connection breaks without being read: the kernel says so."""
    poll = select.poll()
    poll.register(sock, 0)  # POLLERR and POLLHUP are told always
    return bool(poll.poll(PATIENCE_S * 1000))


@pytest.mark.parametrize("side", [0, 1])
def test_reset_of_an_upload_that_has_no_credit(lab, free_port, side):
    app, port = lab.listen(), free_port()
    lab.pair([f"--service=app=tcp:127.0.0.1:{app.getsockname()[1]}"], [f"-L{port}:app"])
    people = lab.joined(port, app)
    send_until_blocked(people[side])
    reset(people[side])
    assert is_told(people[1 - side])


def test_reset_of_an_upload_that_is_not_accepted_yet(lab, free_port):
    hole, port = socket.create_server(("127.0.0.1", 0), backlog=0), free_port()
    where = hole.getsockname()
    full = [socket.socket() for _ in range(4)]  # its queue is full: nobody is answered
    for sock in full:
        sock.setblocking(False)
        sock.connect_ex(where)
    host, guest = lab.pair([f"--service=app=tcp:127.0.0.1:{where[1]}"], [f"-L{port}:app"])
    client = lab.connect(port)
    client.sendall(b"is anybody there?")
    while not host.status()["streams"]:
        pass
    reset(client)
    while host.status()["streams"] or guest.status()["streams"]:
        pass
    for sock in [hole, *full]:
        sock.close()


def test_half_close_behind_much_that_is_not_read(lab, free_port):
    app, port = lab.listen(), free_port()
    lab.pair([f"--service=app=tcp:127.0.0.1:{app.getsockname()[1]}"], [f"-L{port}:app"])
    here, there = lab.joined(port, app)
    data = pattern("half", 6_000_000)
    sender = threading.Thread(target=lambda: (here.sendall(data), here.shutdown(socket.SHUT_WR)))
    sender.start()
    there.sendall(b"answer before the end")
    there.shutdown(socket.SHUT_WR)
    assert receive(here) == b"answer before the end"
    assert receive(there) == data
    sender.join()


def test_unix_client_that_closes_behind_much_that_is_not_read(lab):
    app, path = lab.listen(socket.AF_UNIX), lab.folder / "forward"
    lab.pair([f"--service=app=unix:{app.getsockname()}"], [f"-Lunix:{path}:app"])
    here, there = lab.joined(path, app)
    size = send_until_blocked(here)
    here.close()
    assert len(receive(there)) == size


def test_command_is_hung_up_when_its_client_dies_without_a_window(lab, cleanup):
    """No more input may be under way than the server keeps for a command that does not read it."""
    host, guest = lab.pair([], ["--allow-run"])
    mark = lab.folder / "pid"
    os.mkfifo(mark)
    with open("/dev/zero", "rb") as zeroes:
        client = subprocess.Popen([PROGRAM, "proxy", "run", f"--control={host.control}", "--", "sh", "-c",
                                   f"echo $$ >{mark}; exec sleep 600"], stdin=zeroes)  # fmt: skip
    cleanup.callback(client.wait)
    cleanup.callback(client.kill)
    pidfd = os.pidfd_open(int(mark.read_text()))
    cleanup.callback(os.close, pidfd)
    while not any(stream["bytes_sent"] > INPUT_WINDOW for stream in host.status()["streams"]):
        pass
    client.kill()
    assert select.select([pidfd], [], [], PATIENCE_S)[0], "the command outlives its client"
    while host.status()["streams"] or guest.status()["streams"]:
        pass


def test_command_is_hung_up_when_its_older_client_dies_without_credit(lab, cleanup):
    """Of version 1, which is held back by the credit of its stream alone."""
    host, guest = lab.pair([], ["--allow-run"])
    mark = lab.folder / "pid"
    os.mkfifo(mark)
    client = lab.connect(host.control)
    words = b"sh\0-c\0" + f"echo $$ >{mark}; exec sleep 600".encode() + b"\0"
    client.sendall(b"RUN @run\n" + frame(1, bytes(5) + words))
    pidfd = os.pidfd_open(int(mark.read_text()))
    cleanup.callback(os.close, pidfd)
    client.setblocking(False)
    stdin, done = frame(2, bytes(16384)), 0
    while not any(stream["credit"] == 0 for stream in host.status()["streams"]):
        if select.select([], [client], [], 0)[1]:
            done = (done + client.send(stdin[done:])) % len(stdin)
    client.close()
    assert select.select([pidfd], [], [], PATIENCE_S)[0], "the command outlives its client"
    while host.status()["streams"] or guest.status()["streams"]:
        pass


def frame(kind, payload):
    return struct.pack("<BBH", kind, 0, len(payload)) + payload


@pytest.mark.parametrize("command", ["true", "head -c 3000000 /dev/zero"])
def test_upload_to_a_command_that_has_ended(lab, free_port, command):
    port = free_port()
    ends = lab.pair([f"--service=short=exec:{command}"], [f"-L{port}:short"])
    client = lab.connect(port)
    broke = threading.Event()

    def send_for_ever():
        try:
            while True:
                client.sendall(bytes(65536))
        except OSError:
            broke.set()

    threading.Thread(target=send_for_ever, daemon=True).start()
    got, wanted = 0, 0 if command == "true" else 3_000_000
    while got < wanted:
        got += len(client.recv(65536))
    assert got == wanted
    assert is_reset(client) or broke.wait(PATIENCE_S)
    assert broke.wait(PATIENCE_S), "the client goes on sending to nobody"
    for end in ends:
        while end.status()["streams"]:
            pass


def test_request_to_a_command_that_does_not_read_it(lab, free_port):
    """The output arrives whole, and its end is an end, when nothing more is sent than was read or will be."""
    port = free_port()
    lab.pair(["--service=deaf=exec:exec 0<&-; head -c 500000 /dev/zero"], [f"-L{port}:deaf"])
    client = lab.connect(port)
    client.shutdown(socket.SHUT_WR)
    assert receive(client) == bytes(500_000)


def test_control_client_with_another_line_always(lab):
    host, _ = lab.pair()
    flood = lab.connect(host.control)

    def say():
        try:
            while True:
                flood.sendall(b"WAIT\n" * 10_000)
        except OSError:
            pass

    threading.Thread(target=say, daemon=True).start()
    for _ in range(20):
        assert host.ask("PING").startswith("PONG")
    host.process.terminate()
    assert host.process.wait(PATIENCE_S) == 0
