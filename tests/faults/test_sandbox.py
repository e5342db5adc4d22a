"""What code inside the sandbox cannot do, tried by code inside the sandbox."""

import os
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

import pytest

from holdfast.sandbox import inside, seccomp
from holdfast.sandbox.policy import Policy
from holdfast.sandbox.syscalls import NUMBERS

pytestmark = pytest.mark.skipif(bool(inside.missing()), reason=f"no sandbox here: {inside.missing()}")

ENTER = """
import sys
from holdfast.sandbox.inside import enter
from holdfast.sandbox.policy import Policy
found = enter(Policy.from_json(sys.argv[1]))
exec(sys.argv[2])
"""
WALL_S = 20


def run(code, *, scratch="", wall=WALL_S, **policy):
    policy = {"memory_mb": 1024, "cpu_s": 30, "scratch": scratch} | policy
    command = [sys.executable, "-I", "-c", ENTER, Policy(**policy).to_json(), textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, timeout=wall, cwd=scratch or "/")


def refused(code, **more):
    """The code ends with the kernel's no; what it printed before."""
    done = run(code, **more)
    assert done.returncode != 0, done.stdout
    assert "PermissionError" in done.stderr or "Operation not permitted" in done.stderr, done.stderr
    return done.stdout


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "signing.pem"
    path.write_text("secret")
    return path


@pytest.fixture
def scratch():
    with tempfile.TemporaryDirectory() as folder:
        yield folder


def test_its_own_interpreter_works_in_it():
    done = run(
        "import json, decimal, threading; t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()"
    )
    assert (done.returncode, done.stdout) == (0, "thread\n"), done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "open({path!r}).read()",
        "import os; os.listdir(os.path.dirname({path!r}))",
        "open({path!r}, 'w')",
        "open({path!r} + '.new', 'w')",
        "import os; os.unlink({path!r})",
        "import os; os.rename({path!r}, {path!r} + '.old')",
        "import os; os.truncate({path!r}, 0)",
        "import os; os.chmod({path!r}, 0o777)",
        "import os; os.utime({path!r})",
        "import os; os.chown({path!r}, os.getuid(), os.getgid())",
        "import os; os.mkdir({path!r} + '.d')",
        "import os; os.symlink('/etc/passwd', {path!r} + '.link')",
        "import os; os.link({path!r}, {path!r} + '.link')",
        "import os; os.mkfifo({path!r} + '.fifo')",
        "open('/etc/passwd').read()",
        "import os; open('/proc/' + str(os.getppid()) + '/environ').read()",
        "import os; open('/proc/self/root/etc/passwd').read()",
        "import os; os.listdir('/')",
        "import os; os.listdir(os.path.expanduser('~'))",
    ],
)
def test_files_are_out_of_reach(secret, code):
    refused(code.format(path=str(secret)))
    assert secret.read_text() == "secret"
    assert list(secret.parent.iterdir()) == [secret]


@pytest.mark.parametrize(
    "kind", ["AF_INET, socket.SOCK_STREAM", "AF_INET, socket.SOCK_DGRAM", "AF_INET6, socket.SOCK_DGRAM", "AF_UNIX",
             "AF_NETLINK, socket.SOCK_RAW", "AF_INET, socket.SOCK_RAW"],
)  # fmt: skip
def test_no_socket_of_any_kind(kind):
    refused(f"import socket; socket.socket(socket.{kind})")


def test_nothing_arrives_by_tcp_or_udp():
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        for one in (tcp, udp):
            one.bind(("127.0.0.1", 0))
        tcp.listen()
        tcp.settimeout(0.2)
        udp.settimeout(0.2)
        refused(f"import socket; socket.create_connection({tcp.getsockname()!r})")
        refused(f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', {udp.getsockname()!r})")
        for one, take in ((tcp, tcp.accept), (udp, lambda: udp.recv(1))):
            with pytest.raises(TimeoutError):
                take()
            assert one


def test_a_socket_handed_in_still_talks():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        code = f"import socket; socket.socket(fileno={theirs.fileno()}).sendall(b'hello')"
        command = [sys.executable, "-I", "-c", ENTER, Policy().to_json(), code]
        assert subprocess.run(command, pass_fds=[theirs.fileno()], capture_output=True, timeout=WALL_S).returncode == 0
        assert ours.recv(5) == b"hello"


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.fork()",
        "import os; os.execv(sys.executable, [sys.executable, '-c', 'print(1)'])",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import subprocess; subprocess.run([sys.executable, '-c', 'print(1)'])",
        "import os; sys.exit(os.system('true') != 0)",
        "import multiprocessing as m; p = m.get_context('fork').Process(target=print); p.start()",
        "import os; os.setsid()",
        "import os; os.setpgid(0, 0)",
    ],
)
def test_no_other_process(code):
    assert run(code).returncode != 0


def test_a_fork_bomb_makes_no_process():
    done = run("""
        import os
        made = 0
        for _ in range(1000):
            try:
                if os.fork() == 0:
                    os._exit(0)
                made += 1
            except OSError:
                pass
        print(made)
    """)
    assert done.stdout == "0\n", done.stderr


def test_a_thread_bomb_ends_at_the_limit():
    done = run("""
        import threading
        hold = threading.Event()
        made = 0
        try:
            for _ in range(100_000):
                threading.Thread(target=hold.wait, daemon=True).start()
                made += 1
        except (RuntimeError, MemoryError):
            pass
        print(made < 2000)
        import os
        sys.stdout.flush()
        os._exit(0)
    """, memory_mb=512)  # fmt: skip
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "b = bytearray(8 << 30)",
        "held = []\nwhile True:\n    held.append(bytes(10 << 20))",
        "import mmap\nheld = [mmap.mmap(-1, 64 << 20) for _ in range(100)]",
    ],
)
def test_a_memory_bomb_hurts_only_itself(code):
    done = run(code, memory_mb=512)
    assert done.returncode != 0
    assert "MemoryError" in done.stderr or "Cannot allocate" in done.stderr, done.stderr


SHARED = """
from ctypes import CDLL
if CDLL(None).shmget(0, 1 << 20, 0o1600) < 0:
    raise PermissionError
"""


@pytest.mark.parametrize("code", ["import os; os.memfd_create('x')", SHARED])
def test_no_memory_that_no_limit_counts(code):
    assert run(code).returncode != 0


def test_a_spinning_processor_is_ended_by_the_kernel():
    began = time.monotonic()
    done = run("while True: pass", cpu_s=1)
    assert done.returncode < 0
    assert time.monotonic() - began < WALL_S


def test_a_file_stays_small_and_so_do_many(scratch):
    done = run("""
        import os
        try:
            with open(os.path.join(os.getcwd(), "big"), "wb") as file:
                for _ in range(64):
                    file.write(bytes(1 << 20))
        except OSError as bad:
            print(type(bad).__name__)
        os.unlink("big")
        written = 0
        try:
            for i in range(64):
                with open(f"part{i}", "wb") as file:
                    written += file.write(bytes(1 << 20))
        except OSError as bad:
            print(type(bad).__name__)
        print(written <= 9 << 20 or not found.namespaces)
    """, scratch=scratch, file_mb=8)  # fmt: skip
    assert done.stdout.splitlines()[-1] == "True", done
    assert done.stdout.startswith("OSError")


def test_a_scratch_folder_is_its_own(scratch):
    assert run("open('note', 'w').write('x'); print(open('note').read())", scratch=scratch).stdout == "x\n"
    refused("import subprocess, os; open('run', 'w').write('#!/bin/sh'); os.execv('./run', ['run'])", scratch=scratch)


@pytest.mark.parametrize("code", ["import os; os.kill(os.getppid(), 9)", "import os; os.kill(-1, 9)", "import os; os.kill(0, 9)",
                                  "import os, signal; os.killpg(os.getpgid(os.getppid()), 9)"])  # fmt: skip
def test_nobody_else_is_signalled(code):
    refused(code)


def test_nobody_elses_limits_and_priority_change():
    refused("import os, resource; resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))")
    refused("import os; os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)")
    refused("import os; os.sched_setaffinity(os.getppid(), {0})")


def test_limits_do_not_come_off():
    done = run("import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))", memory_mb=512)
    assert "ValueError" in done.stderr or "PermissionError" in done.stderr


@pytest.mark.parametrize("name", ["mount", "unshare", "chroot", "ptrace", "bpf", "keyctl", "userfaultfd", "io_uring_setup",
                                  "pidfd_open", "perf_event_open", "init_module", "reboot", "settimeofday"])  # fmt: skip
def test_what_changes_the_machine_is_refused(name):
    number = (NUMBERS[seccomp.MACHINE] | seccomp.ANYWHERE)[name]
    done = run(f"""
        import ctypes, errno
        libc = ctypes.CDLL(None, use_errno=True)
        result = libc.syscall({number}, 0, 0, 0, 0, 0)
        print(result, ctypes.get_errno() in (errno.EPERM, errno.ENOSYS))
    """)
    assert done.stdout == "-1 True\n", done.stderr


def test_calls_of_tomorrow_are_unknown():
    done = run("import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.syscall(1000, 0), ctypes.get_errno())")
    assert done.stdout == "-1 38\n"


def test_a_child_of_another_entry_of_the_machine_is_killed():
    if seccomp.MACHINE != "x86_64":
        pytest.skip("x32 is a way into x86-64 alone")
    assert run("import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39)").returncode == -31


def test_with_threads_it_is_refused():
    hold = threading.Event()
    thread = threading.Thread(target=hold.wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="threads"):
            inside.enter(Policy(memory_mb=1 << 20, file_mb=1 << 20, open_files=1 << 16))
    finally:
        hold.set()
        thread.join()


def test_without_namespaces_the_walls_still_hold(secret, scratch):
    """As in a container: none are given."""
    code = "from holdfast.sandbox import namespaces; namespaces.own = lambda scratch, size: False"
    script = ENTER.replace("found =", f"{code}; found =")
    for attack in (
        f"open({str(secret)!r})",
        "import socket; socket.socket(type=socket.SOCK_DGRAM)",
        "import os; os.fork()",
    ):
        command = [sys.executable, "-I", "-c", script, Policy(scratch=scratch).to_json(), attack]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WALL_S, cwd=scratch)
        assert "PermissionError" in done.stderr


def test_it_is_the_same_for_whoever_is_not_root():
    if os.getuid() != 0:
        pytest.skip("runs as root only; otherwise every test here is this one")
    script = ENTER.replace("found =", "import os, socket; os.setgid(65534); os.setuid(65534); found =")
    for attack in ("open('/etc/passwd')", "socket.socket(type=socket.SOCK_DGRAM)", "os.fork()"):
        command = [sys.executable, "-I", "-c", script, Policy().to_json(), attack]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WALL_S, cwd="/")
        assert "PermissionError" in done.stderr, done.stderr


@pytest.mark.parametrize("machine", NUMBERS)
def test_the_filter_of_every_machine_jumps_within_itself(machine):
    steps = seccomp.program(1234, machine)
    for place, (code, yes, no, _) in enumerate(steps):
        if code in {seccomp.EQUAL, seccomp.AT_LEAST, seccomp.ANY_BIT}:
            assert place + 1 + max(yes, no) < len(steps)
    assert len(steps) < 4096
