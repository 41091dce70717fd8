# SPDX-License-Identifier: BSD-3-Clause
"""A virtual machine's configuration in a folder of its own, and outboard run on it."""
import os
import shlex
import subprocess
import sys

from guestlab import paths

OUTBOARD = paths.BUILD / "root/bin/outboard"
MIB = 1 << 20


class Machine:
    """A folder with a configuration, and outboard run on it."""

    def __init__(self, folder, spawn):
        self.folder = folder
        self.file = folder / "vm.conf"
        self._spawn = spawn

    def write(self, text):
        """The configuration; {OUTBOARD}, {FOLDER} and {PYTHON} stand for paths."""
        for name, value in {"OUTBOARD": OUTBOARD, "FOLDER": self.folder, "PYTHON": sys.executable}.items():
            text = text.replace(f"{{{name}}}", str(value))
        self.file.write_text(text)
        return self

    def write_restarted(self, words, program, settings=""):
        """A device that is restarted, and for its VMM a script of Python with arguments."""
        return self.write(f"""
            [machine]
              program = "{{PYTHON}}"
              arguments = "{words}"
              control = "{{FOLDER}}/control"
            [device "device"]
              program = "{program}"
              on-death = "restart"
              {settings}
        """)

    def script(self, name, text):
        """A program of the test's own, in the folder."""
        path = self.folder / name
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(0o755)
        return path

    def image(self, name="disk.img"):
        path = self.folder / name
        with open(path, "wb") as file:
            file.truncate(MIB)
        return path

    def run(self, *options, command="run", **environment):
        """Runs it to its end."""
        return subprocess.run([OUTBOARD, command, *options, self.file], cwd=self.folder, env=os.environ | environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # fmt: skip

    def start(self):
        """A guestlab.Process, whose log is file `outboard.log`."""
        return self._spawn([OUTBOARD, "run", self.file])

    def plan(self, **environment):
        """What --dry-run prints: [(comment, words)]."""
        done = self.run("--dry-run", **environment)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        return [(comment, shlex.split(words)) for comment, words in zip(lines[::2], lines[1::2], strict=True)]


def build_door(folder, *options):
    """door.c as a shared object, and the file of its effects."""
    library, effects = folder / "door.so", folder / "effects"
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{paths.BUILD}/root/include", *options,
                    f'-DFILE_NAME="{effects}"', "-o", library, paths.TREE / "tests/supervisor/door.c"], check=True)  # fmt: skip
    effects.touch()
    return library, effects
