# SPDX-License-Identifier: BSD-3-Clause
"""The options of outboard-nvme, right and wrong."""
import json
import subprocess

import pytest
from driver import PROGRAM, SUCCESS, Controller, Disk, pattern


def refusal(*options):
    """Why the program does not start."""
    done = subprocess.run(
        [PROGRAM, "--fd=0", *options], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_capabilities():
    text = subprocess.run([PROGRAM, "--print-capabilities"], capture_output=True, text=True, check=True).stdout
    assert json.loads(text)["type"] == "nvme"


@pytest.mark.parametrize(
    "properties, reason",
    [
        ("sparse", "property: got 'sparse'"),
        ("block-size=1024", "property: got 'block-size=1024'"),
        ("serial=", "1 to 20 ASCII"),
        ("serial=has space", "1 to 20 ASCII"),
        ("serial=123456789012345678901", "1 to 20 ASCII"),
        ("readonly=on", "property: got 'readonly=on'"),
    ],
)
def test_properties_that_do_not_exist(image, properties, reason):
    assert reason in refusal(f"--image={image},{properties}")


def test_interrupts_that_do_not_exist(image):
    for value in ("", "msi-x", "MSI", "none"):
        assert "expected msix, msi or intx" in refusal(f"--image={image}", f"--interrupts={value}")


def test_images_that_are_none(tmp_path, image):
    small = tmp_path / "small.img"
    small.write_bytes(bytes(511))
    assert "give --image" in refusal()
    assert "No such file" in refusal(f"--image={tmp_path}/absent")
    assert "smaller than a block" in refusal(f"--image={small}")
    assert "Is a directory" in refusal(f"--image={tmp_path}")
    assert "expected a file or a block device" in refusal("--image=/dev/null")
    assert "direct: got nbd://localhost, expected a file or a block device" in refusal("--image=nbd://localhost,direct")
    assert "connect" in refusal(f"--image=nbd+unix:///?socket={tmp_path}/absent")
    assert "got more than 32 images" in refusal(*[f"--image={image},readonly"] * 33)


def test_an_image_has_one_writer(machine, image):
    first = Controller(machine(image))
    assert "another process uses the image" in refusal(f"--image={image}")
    assert "another process uses the image" in refusal(f"--image={image},readonly")
    first.machine.process.terminate()
    readers = [Controller(machine(f"{image},readonly")) for _ in range(2)]
    assert "another process uses the image" in refusal(f"--image={image}")
    assert all(reader.identify(1) for reader in readers)


def test_a_comma_in_the_path(machine, tmp_path):
    path = tmp_path / "a,b,,c"
    path.write_bytes(pattern(0, 4096))
    disk = Disk(Controller(machine(f"{str(path).replace(',', ',,')},readonly")).create_queue())
    assert disk.read(0, 4096) == pattern(0, 4096)


def test_the_most_images(machine, tmp_path):
    images = [tmp_path / f"{number}.img" for number in range(32)]
    for number, path in enumerate(images):
        path.write_bytes(pattern(4096 * number, 4096))
    queue = Controller(machine(*images)).create_queue()
    for number in range(32):
        assert Disk(queue, nsid=number + 1).read(0, 4096) == pattern(4096 * number, 4096)
    for number in range(32):
        assert Disk(queue, nsid=number + 1).write(7, bytes(512)) == SUCCESS
    assert all(path.read_bytes()[7 * 512 :] == bytes(512) for path in images)
