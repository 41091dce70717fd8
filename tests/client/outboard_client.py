# SPDX-License-Identifier: BSD-3-Clause
"""include/outboard/client*.h for Python."""
import ctypes
import errno
import os
from ctypes import POINTER, Structure, byref, c_bool, c_char, c_char_p, c_int, c_uint, c_uint8, c_uint16, c_uint32
from ctypes import c_size_t, c_ssize_t, c_uint64, c_void_p

from guestlab import paths

ALIVE, HUNG, LOST = range(3)
INTX, MSI, MSIX, ERROR, REQUEST = range(5)
ROM, CONFIG = 6, 7
STOPPED, RUNNING, SAVING, LOADING, RUNNING_P2P, PRE_COPY = range(1, 7)
PREFETCHABLE, MEMORY = 1, 2
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
        ("config_len", c_uint32),
        ("vectors", c_uint32 * 5),
        ("reserved", c_uint64 * 8),
    ]


class Region(Structure):
    _fields_ = [
        ("gpa", c_uint64),
        ("len", c_uint64),
        ("offset", c_uint64),
        ("fd", c_int),
        ("read_only", c_bool),
        ("memory", c_void_p),
    ]


class Write(Structure):
    _fields_ = [("bar", c_uint), ("offset", c_uint64), ("size", c_uint), ("value", c_uint64)]


class Area(Structure):
    _fields_ = [("offset", c_uint64), ("len", c_uint64), ("fd", c_int), ("file_offset", c_uint64), ("sealed", c_bool)]


class Eventfd(Structure):
    _fields_ = [("offset", c_uint64), ("size", c_uint64), ("matches", c_bool), ("value", c_uint64), ("fd", c_int)]


class Range(Structure):
    _fields_ = [("gpa", c_uint64), ("len", c_uint64)]


_STATE_CHANGED = ctypes.CFUNCTYPE(None, c_void_p, c_int, POINTER(Fault))
_HUNG = ctypes.CFUNCTYPE(c_int, c_void_p, POINTER(Fault))
_RAISED = ctypes.CFUNCTYPE(None, c_void_p)


class Options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("wire", c_char_p),
        ("timeout_ms", c_uint),
        ("poll_us", c_uint),
        ("heartbeat_ms", c_uint),
        ("policy", c_int),
        ("state_changed", _STATE_CHANGED),
        ("hung", _HUNG),
        ("intx_raised", _RAISED),
        ("reserved", c_void_p * 8),
        ("argument", c_void_p),
        ("posted_writes", c_bool),
    ]


_library.ob_client_fault.restype = POINTER(Fault)
_library.ob_client_save.restype = c_ssize_t


class ClientError(OSError):
    """A call has failed; what it gave nevertheless is in `value`."""

    def __init__(self, number, text, value=None):
        super().__init__(number, text or os.strerror(number))
        self.value = value


class Client:
    """One ob_client. `states` are those that it was told of, `interrupts` counts INTx."""

    def __init__(
        self,
        target,
        wire="mpqemu",
        timeout_ms=0,
        heartbeat_ms=0,
        poll_us=0,
        policy=REPORT,
        verdict=REPORT,
        posted_writes=False,
    ):
        self.states, self.questions, self.interrupts = [], 0, 0
        self._verdict = verdict
        self._options = Options(
            size=ctypes.sizeof(Options),
            wire=wire.encode(),
            timeout_ms=timeout_ms,
            poll_us=poll_us,
            heartbeat_ms=heartbeat_ms,
            policy=policy,
            state_changed=_STATE_CHANGED(lambda _, state, fault: self.states.append(state)),
            hung=_HUNG(self._ask),
            intx_raised=_RAISED(self._raised),
            posted_writes=posted_writes,
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

    def set_timeout(self, timeout_ms):
        self._check(_library.ob_client_set_timeout(self._client, timeout_ms))

    @property
    def refusal(self):
        return -_library.ob_client_refusal(self._client)

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

    def map_memory(self, *region):
        """A region is (gpa, len, offset, fd[, read_only[, address]])."""
        fault = Fault()
        self._check(_library.ob_client_map_memory(self._client, byref(Region(*region)), byref(fault)), fault)

    def unmap_memory(self, gpa, length):
        self._check(_library.ob_client_unmap_memory(self._client, c_uint64(gpa), c_uint64(length)))

    def read_bytes(self, region, offset, length):
        buf = ctypes.create_string_buffer(length)
        err = _library.ob_client_read_bytes(self._client, region, c_uint64(offset), buf, c_size_t(length))
        return self._check(err, value=buf.raw)

    def write_bytes(self, region, offset, data):
        self._check(_library.ob_client_write_bytes(self._client, region, c_uint64(offset), data, c_size_t(len(data))))

    def bar_write_many(self, *writes):
        array = (Write * len(writes))(*[Write(*write) for write in writes])
        self._check(_library.ob_client_bar_write_many(self._client, array, len(writes)))

    def _filled(self, call, kind, bar, most=16):
        array = (kind * most)()
        count = call(self._client, bar, array, most)
        self._check(min(count, 0))
        return array[:count]

    def bar_areas(self, bar):
        return self._filled(_library.ob_client_bar_areas, Area, bar)

    def bar_eventfds(self, bar, most=16):
        return self._filled(_library.ob_client_bar_eventfds, Eventfd, bar, most)

    def set_vectors(self, kind, start, count, fds=None):
        array = (c_int * len(fds))(*fds) if fds else None
        self._check(_library.ob_client_set_vectors(self._client, kind, start, count, array))

    def mask_vectors(self, kind, start, count, masked=True):
        self._check(_library.ob_client_mask_vectors(self._client, kind, start, count, c_bool(masked)))

    def trigger_vectors(self, kind, start, count):
        self._check(_library.ob_client_trigger_vectors(self._client, kind, start, count))

    def can_migrate(self):
        pre_copy = c_bool()
        return self._check(_library.ob_client_can_migrate(self._client, byref(pre_copy)), value=pre_copy.value)

    @property
    def run_state(self):
        state = c_int()
        self._check(_library.ob_client_get_run_state(self._client, byref(state)))
        return state.value

    @run_state.setter
    def run_state(self, state):
        self._check(_library.ob_client_set_run_state(self._client, state))

    def save(self, piece=1 << 20):
        """All that is left of a device's state."""
        state, buf = b"", ctypes.create_string_buffer(piece)
        while (count := _library.ob_client_save(self._client, buf, c_size_t(piece))) > 0:
            state += buf.raw[:count]
        return self._check(count, value=state)

    def load(self, state):
        self._check(_library.ob_client_load(self._client, state, c_size_t(len(state))))

    def log_start(self, page, *ranges):
        array = (Range * len(ranges))(*[Range(*one) for one in ranges])
        self._check(_library.ob_client_log_start(self._client, c_uint64(page), array, len(ranges)))

    def log_stop(self):
        self._check(_library.ob_client_log_stop(self._client))

    def log_report(self, page, gpa, length):
        """The numbers of the pages of this range that were written."""
        pages = length // page
        bits = ctypes.create_string_buffer((pages + 63) // 64 * 8)
        err = _library.ob_client_log_report(self._client, c_uint64(page), byref(Range(gpa, length)), bits)
        self._check(err)
        return [page for page in range(pages) if bits.raw[page // 8] >> page % 8 & 1]


def fails_with(number, call, *arguments):
    """Whether a call fails with this errno; returns what it gave nevertheless."""
    try:
        call(*arguments)
    except ClientError as error:
        assert error.errno == number, f"{errno.errorcode[error.errno]}: {error}"
        return error.value
    raise AssertionError(f"no {errno.errorcode[number]}")
