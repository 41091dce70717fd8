# SPDX-License-Identifier: BSD-3-Clause
"""Starts NBD servers."""
import socket


def start(spawn, path, argv):
    """Runs qemu-nbd or nbdkit on a socket at path, which listens before this returns; the export's URI and the Process.

    spawn: the fixture.
    """
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    # The protocol of systemd: the socket is descriptor 3, and the variables name the process that is meant.
    script = f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&{listening.fileno()}'
    process = spawn(["bash", "-c", script, "bash", *argv], name=path.stem, inherit=[listening])
    return f"nbd+unix:///?socket={path}", process
