# SPDX-License-Identifier: BSD-3-Clause
"""Each command's requests, which of our answers may differ from qemu-ga's, and why: for one guest that has both agents."""
import fnmatch

from agentdebian import differences
from agentlab import encode

# The commands that only read, and requests that are refused.
READ = [
    ("ping", None), ("ping", {"a": 1}), ("sync", {"id": 7}), ("sync", {}), ("sync", {"id": "x"}), ("sync", {"id": 2**63}),
    ("sync-delimited", {"id": -1}), ("info", None), ("get-osinfo", None), ("get-host-name", None), ("get-time", None),
    ("get-timezone", None), ("get-users", None), ("network-get-interfaces", None), ("network-get-route", None),
    ("get-fsinfo", None), ("get-disks", None), ("get-diskstats", None), ("get-cpustats", None), ("get-load", None),
    ("get-vcpus", None), ("get-memory-blocks", None), ("get-memory-block-info", None), ("fsfreeze-status", None),
    ("fsfreeze-thaw", None), ("get-devices", None), ("nope", None), ("exec-status", {"pid": 999999}), ("exec-status", None),
    ("file-open", {"path": "/nonexistent"}), ("file-open", {"path": "/etc/hostname", "mode": "q"}), ("file-close", {"handle": 1}),
    ("file-read", {"handle": 1}), ("file-write", {"handle": 1, "buf-b64": "eA=="}), ("file-flush", {"handle": 1}),
    ("file-seek", {"handle": 1, "offset": 0, "whence": 0}), ("exec", {"path": "/nonexistent"}),
    ("ssh-get-authorized-keys", {"username": "bob"}), ("ssh-get-authorized-keys", {"username": "no-such-user"}),
    ("set-user-password", {"username": "no-such-user", "password": "eA==", "crypted": False}),
    ("set-user-password", {"username": "bob", "password": "!", "crypted": False}),
    ("set-vcpus", {"vcpus": []}), ("set-vcpus", {"vcpus": [{"logical-id": 4000, "online": True}]}),
    ("set-memory-blocks", {"mem-blks": []}), ("set-memory-blocks", {"mem-blks": [{"phys-index": 99999999, "online": True}]}),
    ("shutdown", {"mode": "sideways"}),
]  # fmt: skip

# Commands that change the guest, and how it is as before afterwards: requests one after the other to the same agent. The
# names of arguments in <> are taken from the answers so far.
CHANGE = {
    "set-time": [("set-time", {"time": "<time>"}), ("set-time", None)],
    "set-vcpus": [("set-vcpus", {"vcpus": [{"logical-id": 1, "online": False}]}), ("get-vcpus", None),
                  ("set-vcpus", {"vcpus": [{"logical-id": 1, "online": True}]})],
    "set-memory-blocks": [("set-memory-blocks", {"mem-blks": [{"phys-index": 1, "online": True}]})],
    "set-user-password": [("set-user-password", {"username": "bob", "password": encode(b"secret"), "crypted": False})],
    "set-user-password-crypted": [("set-user-password", {"username": "bob", "password": encode(b"$6$salt$hash"), "crypted": True})],
    "fsfreeze-freeze": [("fsfreeze-freeze", None), ("fsfreeze-status", None), ("get-osinfo", None), ("info", None),
                        ("fsfreeze-freeze", None), ("fsfreeze-thaw", None), ("fsfreeze-status", None)],
    "fsfreeze-freeze-list": [("fsfreeze-freeze-list", {"mountpoints": ["/mnt"]}), ("fsfreeze-thaw", None)],
    "fsfreeze-nothing": [("fsfreeze-freeze-list", {"mountpoints": ["/nonexistent"]}), ("fsfreeze-status", None), ("fsfreeze-thaw", None)],
    "fstrim": [("fstrim", None), ("fstrim", {"minimum": 4096})],
    "file": [("file-open", {"path": "/root/file", "mode": "w+"}), ("file-write", {"handle": "<handle>", "buf-b64": encode(b"hello")}),
             ("file-write", {"handle": "<handle>", "buf-b64": encode(b"hello"), "count": 99}),
             ("file-seek", {"handle": "<handle>", "offset": 1, "whence": "set"}), ("file-flush", {"handle": "<handle>"}),
             ("file-read", {"handle": "<handle>", "count": 3}), ("file-read", {"handle": "<handle>"}),
             ("file-read", {"handle": "<handle>"}), ("file-seek", {"handle": "<handle>", "offset": -2, "whence": 2}),
             ("file-read", {"handle": "<handle>", "count": -1}), ("file-close", {"handle": "<handle>"}),
             ("file-close", {"handle": "<handle>"})],
    "ssh": [("ssh-add-authorized-keys", {"username": "bob", "keys": ["ssh-ed25519 AAAA one", "ssh-rsa BBBB two"]}),
            ("ssh-get-authorized-keys", {"username": "bob"}),
            ("ssh-add-authorized-keys", {"username": "bob", "keys": ["not a key"]}),
            ("ssh-remove-authorized-keys", {"username": "bob", "keys": ["ssh-rsa BBBB two"]}),
            ("ssh-get-authorized-keys", {"username": "bob"}),
            ("ssh-add-authorized-keys", {"username": "bob", "keys": ["ssh-rsa C"], "reset": True}),
            ("ssh-get-authorized-keys", {"username": "bob"})],
    "exec": [("exec", {"path": "/bin/sh", "arg": ["-c", "echo out; echo err >&2; exit 3"], "capture-output": True})],
    "exec-signal": [("exec", {"path": "/bin/sh", "arg": ["-c", "kill -9 $$"]})],
    "exec-input": [("exec", {"path": "/bin/cat", "input-data": encode(b"hello"), "capture-output": True})],
    "exec-environment": [("exec", {"path": "/usr/bin/env", "env": ["X=1"], "capture-output": True})],
    "exec-silent": [("exec", {"path": "true", "capture-output": True})],
    **{f"exec-{way}": [("exec", {"path": "/bin/sh", "arg": ["-c", "echo out; echo err >&2"], "capture-output": way})]
       for way in ("none", "stdout", "stderr", "separated", "merged", "bad")},
}  # fmt: skip

# qemu-ga 10.2-rc2 says for ever that this program has not exited.
NOT_ASKED = {("exec-stderr", "newer")}

# Afterwards the guest is as before.
RESTORE = {"ssh": "rm -rf /home/bob/.ssh", "file": "rm /root/file"}

# Values that are others a moment later: of these the kinds are compared.
CHANGING = {
    "get-time": {"return"}, "get-load": {"load1m", "load5m", "load15m"}, "get-fsinfo": {"used-bytes"}, "get-users": {"login-time"},
    "get-cpustats": {"user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guestnice"}, "file": {"return"}, "exec": {"pid"},
    "get-diskstats": {"read-ios", "read-sectors", "read-ticks", "write-ios", "write-merges", "write-sectors", "write-ticks",
                      "total-ticks", "weight-ticks", "flush-ios", "flush-ticks", "discard-ios", "discard-sectors", "discard-merges",
                      "discard-ticks", "read-merges", "ios-pgr"},
    "fstrim": {"trimmed"},  # what one has trimmed is nothing to trim for the next one
}  # fmt: skip

# All differences: of which answer, in which field, and why. docs/agent.md tells the same.
WORDS = "the text of an error has other words"
KNOWN = [
    ("*", "error.desc", WORDS),
    ("info", "return.version", "of the agent"),
    ("info", "return.supported_commands[guest-get-devices].*", "for Windows"),
    ("info", "return.supported_commands[guest-get-file].*", "ours"),
    ("info", "return.supported_commands[guest-get-dmesg].*", "ours"),
    ("info", "return.supported_commands[guest-hello].*", "ours"),
    ("info", "return.supported_commands[guest-network-get-route].*", "of 10.2"),
    ("info", "return.supported_commands[guest-get-load].*", "of 10.2"),
    ("info", "return.supported_commands[guest-get-disks].*", "of a qemu-ga that was built with libudev"),
    ("frozen info", "return.supported_commands[*].enabled", "the policy alone decides"),
    ("get-fsinfo", "return[*].total-bytes-privileged", "since 9.1"),
    ("get-fsinfo", "return[*].disk[*].serial", "by sysfs and not udev"),
    ("get-disks", "return[*].address.serial", "by sysfs and not udev"),
    ("get-fsinfo", "return[*].disk[*].dev", "missing where qemu-ga was built without libudev"),
    ("get-disks", "return[*].address.dev", "missing where qemu-ga was built without libudev"),
    ("network-get-route", "return[*].flags", "qemu-ga extends the sign"),
    ("network-get-interfaces", "return[*].statistics.*", "missing where qemu-ga 7.2 misreads /proc/net/dev"),
    ("get-users", "return*", "logind, and not utmp"),
    ("fsfreeze-status", "return", "frozen after a freeze of nothing, until the thaw"),
    ("ssh-get-authorized-keys", "return.keys[*]", "in the order in which they were given"),
    ("ssh-get-authorized-keys", "error.*", "a user without a file has no keys"),
    ("ssh-get-authorized-keys", "return.keys", "a user without a file has no keys"),
]


def why(command, path):
    """The reason of a difference, or None."""
    for name, pattern, reason in KNOWN:
        if name in ("*", command, command.removeprefix("frozen ")) and fnmatch.fnmatchcase(path, pattern.replace("[", "[[]")):
            return reason
    return None


def has_command(answer):
    return answer.get("error", {}).get("class") != "CommandNotFound"


def compare(command, answers, family):
    """Each answer of ours with each of qemu-ga's; commands that one of qemu-ga's does not have are left out."""
    unexplained = {}
    for stock, theirs in answers.items():
        if stock.startswith("ours") or (not has_command(theirs) and has_command(answers["ours"])):
            continue
        for ours in [name for name in answers if name.startswith("ours")]:
            found = differences(theirs, answers[ours], CHANGING.get(family, ()))
            if left := {path for path in found if not why(command, path)}:
                unexplained[f"{stock} and {ours}"] = (sorted(left), theirs, answers[ours])
    assert not unexplained, str(unexplained)


def filled(arguments, answers):
    """Arguments with what the answers so far have in the place of <handle>, <pid> and <time>."""
    known = {"<handle>": lambda: answers[0][1]["return"], "<time>": lambda: answers[0][1]["return"]}
    return arguments and {name: known[value]() if isinstance(value, str) and value in known else value for name, value in arguments.items()}


def carry_out(wire, requests):
    """[(command, answer)...] of requests one after the other; a program's end is waited for."""
    answers = []
    if requests[0][0] == "set-time":
        answers.append(("get-time", wire.whole("get-time")))
    for command, arguments in requests:
        answers.append((command, wire.whole(command, filled(arguments, answers))))
        if command == "exec" and "return" in answers[-1][1]:
            pid = answers[-1][1]["return"]["pid"]
            while not (status := wire.whole("exec-status", {"pid": pid}))["return"]["exited"]:
                pass
            answers.append(("exec-status", status))
    return answers


def check_read(wires, command, arguments):
    """The same request to each agent."""
    compare(command, {name: wire.whole(command, arguments) for name, wire in wires.items()}, command)


def check_change(debian, wires, name):
    """Each agent by itself, since some requests would meet what another one has done."""
    transcripts = {}
    for wire in wires:
        if (name, wire) in NOT_ASKED:
            continue
        transcripts[wire] = carry_out(wires[wire], CHANGE[name])
        if name in RESTORE:
            debian.run(RESTORE[name])
    family = name.split("-")[0] if name.split("-")[0] in ("exec", "file") else name
    for number, (command, _) in enumerate(transcripts["ours"]):
        answers = {wire: answers[number][1] for wire, answers in transcripts.items() if len(answers) == len(transcripts["ours"])}
        title = "frozen info" if name == "fsfreeze-freeze" and command == "info" else command
        compare(title, answers, "get-time" if command == "get-time" else family)


def commands_not_asked(wire):
    """Those of an agent that no request here is for."""
    asked = {command for command, _ in READ} | {command for requests in CHANGE.values() for command, _ in requests}
    return {command["name"].removeprefix("guest-") for command in wire.ask("info")["supported_commands"]} - asked


def read_ids(requests):
    """Names for requests such as those of READ."""
    return [f"{name}-{number}" for number, (name, _) in enumerate(requests)]
