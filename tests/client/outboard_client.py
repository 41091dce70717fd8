# SPDX-License-Identifier: BSD-3-Clause
"""include/outboard/client.h for Python."""
import ctypes
import errno
import os
from ctypes import POINTER, Structure, byref, c_bool, c_char, c_char_p, c_int, c_uint, c_uint8, c_uint16, c_uint32
from ctypes import c_uint64, c_void_p

from guestlab import paths

ALIVE, HUNG, LOST = range(3)
REPORT, FAIL, ASK = range(3)
IO, MEM32, MEM64 = range(1, 4)
PAGE = 4096

_library = ctypes.CDLL(paths.BUILD / "root/lib/liboutboard.so.0")


class Fault(Structure):
    _fields_ = [("code", c_int), ("text_bytes", c_char * 256)]

    @property
    def text(self):
        return self.text_bytes.decode()


class Bar(Structure):
    _fields_ = [("kind", c_int), ("flags", c_uint), ("size", c_uint64)]


class Info(Structure):
    _fields_ = [
        ("vendor_id", c_uint16),
        ("device_id", c_uint16),
        ("subsystem_vendor_id", c_uint16),
        ("subsystem_id", c_uint16),
        ("class_code", c_uint32),
        ("revision", c_uint8),
        ("intx", c_bool),
        ("seventh_region", c_bool),
        ("bars", Bar * 6),
    ]


class Region(Structure):
    _fields_ = [("gpa", c_uint64), ("len", c_uint64), ("offset", c_uint64), ("fd", c_int)]


_STATE_CHANGED = ctypes.CFUNCTYPE(None, c_void_p, c_int, POINTER(Fault))
_HUNG = ctypes.CFUNCTYPE(c_int, c_void_p, POINTER(Fault))
_RAISED = ctypes.CFUNCTYPE(None, c_void_p)


class Options(Structure):
    _fields_ = [
        ("wire", c_char_p),
        ("timeout_ms", c_uint),
        ("poll_us", c_uint),
        ("heartbeat_ms", c_uint),
        ("policy", c_int),
        ("state_changed", _STATE_CHANGED),
        ("hung", _HUNG),
        ("intx_raised", _RAISED),
        ("argument", c_void_p),
    ]


_library.ob_client_fault.restype = POINTER(Fault)


class ClientError(OSError):
    """A call has failed; what it gave nevertheless is in `value`."""

    def __init__(self, number, text, value=None):
        super().__init__(number, text or os.strerror(number))
        self.value = value


class Client:
    """One ob_client. `states` are those that it was told of, `interrupts` counts INTx."""

    def __init__(self, target, wire="mpqemu", timeout_ms=0, heartbeat_ms=0, poll_us=0, policy=REPORT, verdict=REPORT):
        self.states, self.questions, self.interrupts = [], 0, 0
        self._verdict = verdict
        self._options = Options(
            wire=wire.encode(),
            timeout_ms=timeout_ms,
            poll_us=poll_us,
            heartbeat_ms=heartbeat_ms,
            policy=policy,
            state_changed=_STATE_CHANGED(lambda _, state, fault: self.states.append(state)),
            hung=_HUNG(self._ask),
            intx_raised=_RAISED(self._raised),
        )
        self._client = c_void_p()
        fault = Fault()
        if isinstance(target, (str, os.PathLike)):
            err = _library.ob_client_connect(
                os.fsencode(target), byref(self._options), byref(self._client), byref(fault)
            )
        else:
            err = _library.ob_client_new(target.fileno(), byref(self._options), byref(self._client), byref(fault))
            if err == 0:
                target.detach()
        if err < 0:
            raise ClientError(-err, fault.text)

    def _ask(self, _argument, _fault):
        self.questions += 1
        return self._verdict

    def _raised(self, _argument):
        self.interrupts += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _library.ob_client_free(self._client)
        self._client = c_void_p()

    @property
    def state(self):
        return _library.ob_client_state(self._client)

    @property
    def fault(self):
        return _library.ob_client_fault(self._client).contents

    def fileno(self):
        return _library.ob_client_fd(self._client)

    def dispatch(self):
        _library.ob_client_dispatch(self._client)

    def _check(self, err, fault=None, value=None):
        if err < 0:
            raise ClientError(-err, (fault or self.fault).text, value)
        return value

    def publish_memory(self, *regions):
        """Regions are (gpa, len, offset, fd)."""
        fault = Fault()
        array = (Region * len(regions))(*[Region(*region) for region in regions])
        self._check(_library.ob_client_publish_memory(self._client, array, len(regions), byref(fault)), fault)

    def probe(self):
        info, fault = Info(), Fault()
        self._check(_library.ob_client_probe(self._client, byref(info), byref(fault)), fault)
        return info

    def config_read(self, offset, size):
        value = c_uint32()
        err = _library.ob_client_config_read(self._client, c_uint32(offset), size, byref(value))
        return self._check(err, value=value.value)

    def config_write(self, offset, size, value):
        self._check(_library.ob_client_config_write(self._client, c_uint32(offset), size, c_uint32(value)))

    def place_bars(self, memory=0xFE000000, port=0xC000):
        self._check(_library.ob_client_place_bars(self._client, c_uint32(memory), c_uint32(port)))

    def bar_read(self, bar, offset, size):
        value = c_uint64()
        err = _library.ob_client_bar_read(self._client, bar, c_uint64(offset), size, byref(value))
        return self._check(err, value=value.value)

    def bar_write(self, bar, offset, size, value):
        self._check(_library.ob_client_bar_write(self._client, bar, c_uint64(offset), size, c_uint64(value)))

    def set_intx(self, trigger_fd, resample_fd):
        self._check(_library.ob_client_set_intx(self._client, trigger_fd, resample_fd))

    def emulate_intx(self):
        self._check(_library.ob_client_emulate_intx(self._client))

    def intx_eoi(self):
        _library.ob_client_intx_eoi(self._client)

    def reset(self):
        self._check(_library.ob_client_reset(self._client))


def fails_with(number, call, *arguments):
    """Whether a call fails with this errno; returns what it gave nevertheless."""
    try:
        call(*arguments)
    except ClientError as error:
        assert error.errno == number, f"{errno.errorcode[error.errno]}: {error}"
        return error.value
    raise AssertionError(f"no {errno.errorcode[number]}")
