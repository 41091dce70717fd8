# SPDX-License-Identifier: BSD-3-Clause
"""The backdoor as a PCI device of a stock Linux under a stock QEMU."""
import pytest

FILL, CRASH = 0xF111, 0xDEAD
ALL_ONES = "0xffffffffffffffff"


def address(guest, device_id="0x10f0"):
    """The PCI address of the only device with that id."""
    return guest.run(f"cd /sys/bus/pci/devices; grep -lx {device_id} */device | cut -d/ -f1").strip()


def folder(guest):
    return f"/sys/bus/pci/devices/{address(guest)}"


def bar_sizes(guest):
    """Bytes of BAR 0 to 5."""
    lines = guest.read(f"{folder(guest)}/resource").splitlines()[:6]
    ranges = [[int(word, 16) for word in line.split()[:2]] for line in lines]
    return [end - start + 1 if end else 0 for start, end in ranges]


@pytest.mark.parametrize("pages, bar_pages", [(1, 1), (3, 4), (255, 256)])
def test_size_of_the_data_channel(backdoor_guest, pages, bar_pages):
    guest, host = backdoor_guest(f"--pages={pages}")
    assert guest.read(f"{folder(guest)}/vendor") == "0x1af4"
    assert guest.read(f"{folder(guest)}/class") == "0x050000"
    assert bar_sizes(guest) == [4096, bar_pages * 4096, 0, 0, 0, 0]
    size = pages * 4096
    assert guest.run("backdoor info") == f"backdoor: {address(guest)}\ndata: {size} bytes\n"
    guest.run(f"backdoor call {FILL}")
    assert host.lines[0] == f"init {size}"
    # What the host's code wrote to the last 16 bytes, and only there.
    last = [(i * 7 + i // 251) & 0xFF for i in range(size - 16, size)]
    assert list(map(int, guest.run(f"backdoor read {size - 16} | od -An -v -tu1").split())) == last
    assert guest.attempt(f"backdoor read {size - 16} 17").status == 1
    guest.run(f"printf 'the end' | backdoor write {size - 7}")
    assert guest.run(f"backdoor read {size - 7}") == "the end"


@pytest.mark.parametrize("access", ["access", "access-32"])
def test_stores_of_every_size(backdoor_guest, access):
    guest, host = backdoor_guest()
    resource = f"{folder(guest)}/resource0"

    def store(*stores):
        before = len(host.commands)
        guest.run(f"{access} {resource} {' '.join(stores)}")
        return host.commands[before:]

    assert store(*(f"w1:{i}:{i + 1:#x}" for i in range(8))) == [0x0807060504030201]
    assert store("w2:0:0x1111", "w2:2:0x2222", "w2:4:0x3333", "w2:6:0x4444") == [0x4444333322221111]
    assert store("w4:0:0x55667788", "w4:4:0x11223344") == [0x1122334455667788]
    # Only the store that ends on the last byte runs a command, and the register is there again every 8 bytes.
    assert store("w4:0:0", "w2:4:0", "w1:6:0") == []
    assert store("w4:4:0x11223344") == [0x1122334400000000]
    assert store("w4:4088:0x99", "w4:4092:0x88") == [0x8800000099]
    if access == "access":
        assert store("w8:0:0x1122334455667788", "w8:4088:7") == [0x1122334455667788, 7]


@pytest.mark.parametrize("access", ["access", "access-32"])
def test_size_register_by_loads_of_every_size(backdoor_guest, access):
    guest, _ = backdoor_guest("--pages=255")
    resource = f"{folder(guest)}/resource0"
    size = 255 * 4096
    loads = [(width, offset) for width in (1, 2, 4) for offset in (0, width, 8 - width, 8, 4096 - width)]
    if access == "access":
        loads += [(8, 0), (8, 8), (8, 4088)]
    values = guest.run(f"{access} {resource} " + " ".join(f"r{width}:{offset}" for width, offset in loads)).split()
    expected = [size >> 8 * (offset % 8) & 2 ** (8 * width) - 1 for width, offset in loads]
    assert [int(value, 16) for value in values] == expected


def test_programs_of_32_bits(backdoor_guest):
    """They send a command in two halves, also when two threads call at once."""
    guest, host = backdoor_guest()
    guest.run("backdoor-32 call 0x1122334455667788; printf 'thirty-two bits' | backdoor-32 write 1")
    assert host.commands == [0x1122334455667788]
    assert guest.run("backdoor-32 read 1 15") == "thirty-two bits"
    assert guest.run("backdoor-32 info").endswith("data: 4096 bytes\n")
    guest.run("threads-32 200")
    expected = {(thread << 16 | n) << 32 | thread << 16 | n for thread in (1, 2) for n in range(1, 201)}
    assert set(host.commands[1:]) == expected and len(host.commands) == 401


def test_processes_that_use_the_device_at_once(backdoor_guest):
    """QEMU loses what two processors ask of x-pci-proxy-dev at a time; libbackdoor does not let it come to that."""
    guest, host = backdoor_guest()
    copies = "for i in $(seq 20); do printf %512s $i | backdoor write 8; backdoor read 8 512; done"
    output = guest.run(f"threads 150 & threads 150 & threads-32 150 & {copies}; wait")
    assert output.split() == [str(i) for i in range(1, 21)]
    calls = [(thread << 16 | n) << 32 | thread << 16 | n for thread in (1, 2) for n in range(1, 151)]
    assert sorted(host.commands) == sorted(3 * calls)
    assert "re-entrant" not in (guest.logs / "qemu.log").read_text()


def test_reboot_resets_the_device_and_it_works_again(backdoor_guest):
    guest, host = backdoor_guest()
    guest.run(f"access {folder(guest)}/resource0 w4:0:0x55667788; printf kept | backdoor write 0")
    guest.reboot()
    guest.run(f"access {folder(guest)}/resource0 w4:4:0x11223344; backdoor call 5")
    assert host.commands == [0x1122334400000000, 5]
    assert guest.run("backdoor info").endswith("data: 4096 bytes\n")
    assert [line for line in host.lines if line.startswith("init")] == ["init 4096"]


def test_killed_vmm_ends_the_device_cleanly(backdoor_guest):
    guest, host = backdoor_guest()
    guest.run("backdoor call 1")
    guest.kill()
    assert host.process.wait() == 0
    assert host.lines[2:] == ["fini", "outboard-backdoor: the peer has gone, ending"]


def test_vmm_that_powers_off_ends_the_device_cleanly(backdoor_guest):
    guest, host = backdoor_guest()
    assert guest.shutdown() == 0
    assert host.process.wait() == 0
    assert host.lines == ["outboard-backdoor: the peer has gone, ending"]


def test_registers_of_a_dead_device_read_as_all_ones(backdoor_guest):
    guest, host = backdoor_guest()
    resource = f"{folder(guest)}/resource"
    assert guest.attempt(f"backdoor call {CRASH}").status == 1
    host.process.wait()
    assert guest.run(f"access {resource}0 r8:0 w8:0:1 r8:8").split() == [ALL_ONES] * 2
    assert guest.run(f"access {resource}1 r8:0 w8:0:1 r1:9").split() == [ALL_ONES, "0xff"]
    assert guest.attempt("backdoor bench 5").status == 3
    assert guest.run("echo alive") == "alive\n"
    assert guest.qmp.execute("query-status")["status"] == "running"


def refused(guest, command="backdoor info"):
    """What the tool says when it can't open the backdoor."""
    result = guest.attempt(command)
    assert result.status == 3, result
    return result.output


def test_no_device_and_a_device_that_nobody_has_switched_on(backdoor_guest):
    guest, _ = backdoor_guest()
    guest.run(f"echo 1 >{folder(guest)}/remove")
    assert "found no PCI device 1af4:10f0, and OUTBOARD_BACKDOOR is not set; add the device" in refused(guest)
    guest.run("echo 1 >/sys/bus/pci/rescan")
    guest.run(f"printf '\\0\\0' | dd of={folder(guest)}/config bs=1 seek=4 conv=notrunc 2>/dev/null")
    assert guest.run("backdoor info").endswith("data: 4096 bytes\n")
    # Switched on already, as the kernel thinks, so that it does nothing when asked again.
    guest.run(f"printf '\\0\\0' | dd of={folder(guest)}/config bs=1 seek=4 conv=notrunc 2>/dev/null")
    name = address(guest)
    assert f"memory decoding of the backdoor {name} is off" in refused(guest)
    assert refused(guest).endswith(f"try: setpci -s {name} COMMAND=2:2\n")
    guest.run(f"printf '\\2' | dd of={folder(guest)}/config bs=1 seek=4 conv=notrunc 2>/dev/null")
    guest.run("backdoor info")


def test_no_permission(backdoor_guest):
    users = {"/etc/passwd": b"nobody:x:65534:65534::/:/bin/sh\nroot:x:0:0::/:/bin/sh\n"}
    guest, _ = backdoor_guest(files=users)
    as_nobody = "su nobody -c 'backdoor info'"
    assert f"no permission for resource0 of the backdoor {address(guest)}; run this as root" in refused(guest, as_nobody)
    guest.run(f"chown nobody {folder(guest)}/resource[01]")
    assert guest.run(as_nobody).endswith("data: 4096 bytes\n")
    guest.run(f"printf '\\0\\0' | dd of={folder(guest)}/config bs=1 seek=4 conv=notrunc 2>/dev/null")
    assert "no permission for the file enable" in refused(guest, as_nobody)


def test_kernel_that_is_locked_down(backdoor_guest):
    guest, _ = backdoor_guest(append="lockdown=integrity")
    assert f"BAR 0 of the backdoor {address(guest)} be mapped: it is locked down" in refused(guest)


def test_driver_that_holds_the_device(backdoor_guest):
    guest, _ = backdoor_guest(flavour="full", modules=["pci-stub"])
    guest.run("echo 1af4 10f0 >/sys/bus/pci/drivers/pci-stub/new_id")
    name = address(guest)
    advice = f"echo {name} >/sys/bus/pci/devices/{name}/driver/unbind"
    assert refused(guest) == f"backdoor: the driver pci-stub uses the backdoor {name}; unbind it: {advice}\n"
    guest.run(advice)
    assert guest.run("backdoor info").endswith("data: 4096 bytes\n")
