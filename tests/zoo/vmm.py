# SPDX-License-Identifier: BSD-3-Clause
"""A VMM on the client library, as a process of its own: asks a remote for all that may come with descriptors, and
emulates INTx. Says what it did on standard output. Arguments: the descriptor of the socket, the wire."""
import os
import select
import socket
import sys

from outboard_client import Client, ClientError

sock = socket.socket(fileno=int(sys.argv[1]))
with Client(sock, wire=sys.argv[2], timeout_ms=20000) as client:
    try:
        client.probe()
        client.place_bars()
        client.emulate_intx()
        print("set up", flush=True)
        while client.interrupts == 0 and not client.states:
            select.select([client.fileno()], [], [])
            client.dispatch()
        client.intx_eoi()
        print("interrupt ended", flush=True)
        for event in client.bar_eventfds(0):
            os.close(event.fd)
        client.config_read(0, 4)
        print("eventfds taken", flush=True)
    except ClientError as error:
        print(f"refused: {error} {client.states}", flush=True)
# Whatever of the remote's can't be closed, who frees its last client goes on.
print("freed", flush=True)
