"""Kill a process before, or in the middle of, its n-th change to any file: by ptrace, so that libraries in C are met too.

Linux on x86-64 only (`AVAILABLE`). A child of `run` is stopped at each of its system calls; those that change files or
folders are counted. At the n-th it is killed either before it happens, or after half of the bytes were written.

Reference: ptrace(2); system call numbers of x86-64 from the kernel's arch/x86/entry/syscalls/syscall_64.tbl.
"""

import ctypes
import os
import platform
import signal
import sys
from collections.abc import Callable
from typing import Final

AVAILABLE: Final = sys.platform == "linux" and platform.machine() == "x86_64"

_TRACEME, _GETREGS, _SETREGS, _SYSCALL, _SETOPTIONS = 0, 12, 13, 24, 0x4200
_OPTIONS: Final = 0x1 | 0x8 | 0x2 | 0x4 | 0x100000  # system calls marked; clones and forks followed; all die with us
_SYSCALL_STOP: Final = signal.SIGTRAP | 0x80
_ALL: Final = 0x40000000  # __WALL: threads too

_WRITES: Final = {1, 18}  # write, pwrite64: rdx is how much
_CHANGES: Final = (
    _WRITES | {20, 296, 328} | {74, 75, 76, 77, 285} | {82, 264, 316, 83, 258, 84, 87, 263, 86, 265, 88, 266}
)
"""writev, pwritev; fsync, fdatasync, truncate, fallocate; rename, mkdir, rmdir, unlink, link, symlink."""
_OPENS: Final = {2: 13, 257: 12}
"""open, openat: where their flags are."""
_CREATES: Final = os.O_CREAT | os.O_TRUNC
_RDX, _CALL = 12, 15


class _Registers(ctypes.Structure):
    _fields_ = (("at", ctypes.c_ulonglong * 27),)


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def run(work: Callable[[], object], kill_at: int, *, half: bool = False) -> int:
    """Run `work` in a child and kill it at its change number `kill_at` (from 1); how many changes it began.

    A number below `kill_at` means that it lived to its end. `half`: a write is done by half before the kill, any other
    change wholly.
    """
    child = _start(work)
    inside: set[int] = set()
    changes, doomed = 0, False
    while True:
        task, status = os.waitpid(-1, _ALL)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            if task == child:
                assert status == 0, f"the work failed by itself: {status}"
                return changes
            continue
        if os.WSTOPSIG(status) != _SYSCALL_STOP:
            passed = 0 if os.WSTOPSIG(status) in {signal.SIGTRAP, signal.SIGSTOP} else os.WSTOPSIG(status)
            _ptrace(_SYSCALL, task, passed)
            continue
        if task in inside:
            inside.remove(task)
            if doomed:
                return _end(child, changes)
        else:
            inside.add(task)
            changes += _changes(task)
            doomed = changes == kill_at
            if doomed and not half:
                return _end(child, changes)
            if doomed:
                _halve(task)
        _ptrace(_SYSCALL, task)


def _start(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _ptrace(_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            work()
            code = 0
        finally:
            os._exit(code)
    os.waitpid(child, 0)
    _ptrace(_SETOPTIONS, child, _OPTIONS)
    _ptrace(_SYSCALL, child)
    return child


def _changes(task: int) -> bool:
    """Whether the call that this task begins changes a file."""
    registers = _registers(task)
    call = registers.at[_CALL]
    if call in _OPENS:
        return bool(registers.at[_OPENS[call]] & _CREATES)
    return call in _CHANGES


def _halve(task: int) -> None:
    registers = _registers(task)
    if registers.at[_CALL] in _WRITES:
        registers.at[_RDX] //= 2
        _ptrace(_SETREGS, task, ctypes.addressof(registers))


def _registers(task: int) -> _Registers:
    found = _Registers()
    _ptrace(_GETREGS, task, ctypes.addressof(found))
    return found


def _end(child: int, changes: int) -> int:
    os.kill(child, signal.SIGKILL)
    while True:
        task, status = os.waitpid(-1, _ALL)
        if task == child and os.WIFSIGNALED(status):
            return changes


def _ptrace(request: int, task: int, data: int = 0) -> None:
    if _libc.ptrace(request, task, None, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace {request}: {os.strerror(number)}")
