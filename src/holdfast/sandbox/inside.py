"""Where a sandboxed child begins: `python -I -B inside.py POLICY MODULE ...` shuts itself in, then calls `MODULE.main(...)`.

It runs in the environment of any model, so of Holdfast it finds only what is imported from here on, by way of a package without
contents; with an installed Holdfast of another version in that environment it is never mixed up.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from typing import Final

if __name__ == "__main__":
    _PACKAGE = types.ModuleType("holdfast")
    _PACKAGE.__path__ = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]  # noqa: PTH100, PTH120
    sys.modules["holdfast"] = _PACKAGE

import resource

from holdfast.sandbox import landlock, namespaces, seccomp
from holdfast.sandbox.kernel import MACHINE, PR_SET_NO_NEW_PRIVS, prctl
from holdfast.sandbox.policy import MIB, Confinement, Policy

__all__ = ["NO_WALLS", "enter", "missing"]

NO_WALLS: Final = 97
"""Exit code of a child that could not shut itself in, and did nothing."""
SYSTEM: Final = (
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/dev/urandom",
    "/dev/zero",
)
"""What every interpreter and its libraries read."""


def missing() -> str:
    """What this kernel lacks for a sandbox, for people; empty if nothing."""
    if not MACHINE:
        return "only Linux has what it takes (Landlock and system call filters)"
    if not seccomp.known():
        return f"the system calls of {MACHINE} are not known here"
    if not landlock.version():
        return "this kernel has no Landlock (5.13 and later have it, unless it is switched off)"
    return ""


def enter(policy: Policy) -> Confinement:
    """Shut this process in, for ever; call it before there are threads, and before anything foreign is read.

    Raises OSError if the kernel refuses a part, RuntimeError if it lacks one.
    """
    _limit(policy)
    if not policy.contained:
        return Confinement(0, namespaces=False)
    if lacking := missing():
        raise RuntimeError(lacking)
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208
        raise RuntimeError("there are threads already, which would stay outside")
    separate = namespaces.own(policy.scratch, policy.file_mb)
    if separate and policy.scratch:
        os.chdir(policy.scratch)
    namespaces.drop_capabilities(MACHINE)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    writable = ("/dev/null", *((policy.scratch,) if policy.scratch else ()))
    found = landlock.restrict((*SYSTEM, *_interpreter(), *policy.read), writable)
    seccomp.install()
    return Confinement(found, namespaces=separate)


def _interpreter() -> list[str]:
    """The interpreter's own folders, and Holdfast's."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    return [here, sys.prefix, sys.base_prefix, sys.exec_prefix, *(path for path in sys.path if path)]


def _limit(policy: Policy) -> None:
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: policy.memory_mb * MIB,
        resource.RLIMIT_FSIZE: policy.file_mb * MIB,
        resource.RLIMIT_NOFILE: policy.open_files,
    }
    if policy.cpu_s:
        limits[resource.RLIMIT_CPU] = policy.cpu_s
    for which, most in limits.items():
        _, hard = resource.getrlimit(which)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (allowed, allowed))


def main() -> None:
    """See above."""
    policy, module, *arguments = sys.argv[1:]
    try:
        enter(Policy.from_json(policy))
    except (OSError, RuntimeError) as bad:
        sys.stderr.write(f"no sandbox: {bad}\n")
        sys.exit(NO_WALLS)
    importlib.import_module(module).main(*arguments)


if __name__ == "__main__":
    main()
