"""Pickles that nobody should open, made by code: what one of them manages to do leaves a file of its name in a folder.

`touching(folder)` leave that file wherever they may run; `harmful(folder)` would rather hurt the process, its parent or the
machine, so they are opened in the sandbox only.
"""

import bz2
import codecs
import gzip
import io
import lzma
import marshal
import os
import pickle
import pickletools
import struct
import time
import zipfile
import zlib
from pathlib import Path

import cloudpickle
import numpy as np
from sklearn.linear_model import LinearRegression


class Call:
    """Pickles into a call of `function`, and whatever is done with its result."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


def looked_up(module, name, *arguments):
    """A pickle by hand: calls `module.name(*arguments)`, texts only."""
    head = b"\x80\x02c" + f"{module}\n{name}\n".encode()
    return head + b"(" + b"".join(b"X" + struct.pack("<I", len(a.encode())) + a.encode() for a in arguments) + b"tR."


def _code(path):
    return f"open({path!r}, 'w').close()"


def _function(path):
    def leave():
        Path(path).touch()

    return leave


def touching(folder):
    """Name -> pickle; each leaves `folder/name`."""
    found = {}

    def add(name, make):
        path = str(folder / name)
        made = make(path)
        found[name] = made if isinstance(made, bytes) else pickle.dumps(made)

    for protocol in range(6):
        add(f"system{protocol}", lambda path, p=protocol: pickle.dumps(Call(os.system, f"touch {path}"), protocol=p))
        add(f"exec{protocol}", lambda path, p=protocol: pickle.dumps(Call(exec, _code(path)), protocol=p))
    add("eval", lambda path: Call(eval, _code(path)))
    add("open", lambda path: Call(open, path, "w"))
    add("io-open", lambda path: looked_up("io", "open", path, "w"))
    add("mkdir", lambda path: Call(os.mkdir, path))
    add("codecs", lambda path: looked_up("codecs", "open", path, "w"))
    add("posix-mkfifo", lambda path: looked_up("posix", "mkfifo", path))
    add("symlink", lambda path: Call(os.symlink, "/etc/passwd", path))
    add("copy", lambda path: looked_up("shutil", "copyfile", __file__, path))
    add("subprocess-run", lambda path: looked_up("subprocess", "getoutput", f"touch {path}"))
    add("subprocess-output", lambda path: Call(_named("subprocess", "check_output"), ["touch", path]))
    add("popen", lambda path: Call(_named("subprocess", "call"), ["touch", path]))
    add("os-popen", lambda path: Call(_then("read"), Call(_named("os", "popen"), f"touch {path}")))
    add("spawn", lambda path: Call(_named("os", "spawnlp"), os.P_WAIT, "touch", "touch", path))
    add("posix-spawn", lambda path: Call(os.waitpid, Call(os.posix_spawn, "/bin/mkdir", ["mkdir", path], {}), 0))
    add("timeit", lambda path: Call(_named("timeit", "timeit"), _code(path), "pass", time.perf_counter, 1))
    add("profile", lambda path: looked_up("cProfile", "run", _code(path)))
    add("console", lambda path: Call(_named("code", "InteractiveInterpreter.runsource"),
                                     Call(_named("code", "InteractiveInterpreter")), _code(path)))  # fmt: skip
    add("marshal", lambda path: Call(exec, Call(marshal.loads, marshal.dumps(compile(_code(path), "x", "exec")))))
    add("import", lambda path: Call(exec, f"__import__('pathlib').Path({path!r}).touch()"))
    add("partial", lambda path: Call(list, Call(map, open, [path], ["w"])))
    add("attribute", lambda path: Call(_then("touch"), Call(_named("pathlib", "PosixPath"), path)))
    add("nested", lambda path: Call(pickle.loads, pickle.dumps(Call(exec, _code(path)))))
    add(
        "zlib",
        lambda path: Call(pickle.loads, Call(zlib.decompress, zlib.compress(pickle.dumps(Call(exec, _code(path)))))),
    )
    add(
        "base64",
        lambda path: Call(
            pickle.loads, Call(codecs.decode, codecs.encode(pickle.dumps(Call(exec, _code(path))), "base64"), "base64")
        ),
    )
    add(
        "numpy",
        lambda path: looked_up("numpy.testing._private.utils", "runstring", _code(path)).replace(b"tR.", b"}tR."),
    )
    add("in-a-list", lambda path: [1, 2, {"a": (Call(exec, _code(path)),)}])
    add("in-a-key", lambda path: {Call(eval, f"{_code(path)} or 'x'"): 1})
    add("in-an-array", lambda path: np.array([Call(exec, _code(path))], dtype=object))
    add("in-a-model", lambda path: _model(Call(exec, _code(path))))
    add("state", lambda path: Call(_named("types", "SimpleNamespace"), state={"x": Call(exec, _code(path))}))
    add("cloud-lambda", lambda path: cloudpickle.dumps(Call(_function(path))))
    add("cloud-class", lambda path: cloudpickle.dumps(_stateful(path)))
    add("optimised", lambda path: pickletools.optimize(pickle.dumps(Call(exec, _code(path)), protocol=4)))
    add("framed", lambda path: pickle.dumps([bytes(100_000), Call(exec, _code(path))], protocol=5))
    add("after-a-good-one", lambda path: pickle.dumps(Call(_then("__len__"), [Call(exec, _code(path))])))
    add("stack-global", lambda path: pickle.dumps(Call(os.mkdir, path), protocol=4))
    add(
        "thread",
        lambda path: Call(
            exec, f"import threading; t = threading.Thread(target=open, args=({path!r}, 'w')); t.start(); t.join()"
        ),
    )
    add(
        "atexit",
        lambda path: looked_up("atexit", "register").replace(
            b"(tR.", b"(cos\nmkdir\nX" + struct.pack("<I", len(path)) + path.encode() + b"tR."
        ),
    )
    add(
        "excepthook",
        lambda path: Call(exec, f"import sys\nsys.excepthook = lambda *a: open({path!r}, 'w')\nsys.excepthook()"),
    )
    add(
        "finder",
        lambda path: Call(
            exec,
            f"import sys\nclass F:\n def find_spec(*a):\n  open({path!r}, 'w').close()\nsys.meta_path.insert(0, F())\ntry:\n import nonesuch\nexcept ImportError:\n pass\nsys.meta_path.pop(0)",
        ),
    )
    add("ctypes", lambda path: Call(exec, f"import ctypes; ctypes.CDLL(None).creat({path.encode()!r}, 0o600)"))
    return found


def harmful():
    """Name -> pickle."""
    made = {
        "spin": Call(exec, "while True: pass"),
        "memory": Call(bytearray, 1 << 40),
        "memory-slowly": Call(exec, "held = []\nwhile True: held.append(bytes(1 << 24))"),
        "fork-bomb": Call(exec, "import os\nwhile True: os.fork()"),
        "thread-bomb": Call(exec, "import threading\nhold = threading.Event()\nwhile True: threading.Thread(target=hold.wait, daemon=True).start()"),
        "exit": Call(os._exit, 0),
        "abort": Call(os.abort),
        "kill-the-parent": Call(exec, "import os; os.kill(os.getppid(), 9)"),
        "kill-all": Call(os.kill, -1, 9),
        "segfault": Call(exec, "import ctypes; ctypes.string_at(0)"),
        "recursion": Call(exec, "def f(): f()\nf()"),
        "tcp": looked_up("socket", "create_connection").replace(b"(tR.", b"((X\x09\x00\x00\x00127.0.0.1K\x09ttR."),
        "udp": Call(exec, "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))"),
        "file-bomb": Call(exec, "with open('big', 'wb') as f:\n while True: f.write(bytes(1 << 20))"),
    }  # fmt: skip
    return {name: one if isinstance(one, bytes) else pickle.dumps(one) for name, one in made.items()}


def packed(content):
    """The same in the files that people pass around: name of the file -> bytes."""
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("model/data.pkl", content)
        archive.writestr("model/version", "3\n")
    squeezed = {".z": zlib.compress, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    return {
        "model.pkl": content,
        "model.pickle": content,
        "model.joblib": content,
        "model.pt": stored.getvalue(),
        "model.pth": content,
        "model.skops": stored.getvalue(),
        "model.ubj": content,
        "model.json": content,
        "model.txt": content,
        "model.onnx": content,
    } | {f"squeezed{suffix}.joblib": how(content) for suffix, how in squeezed.items()}


def _named(module, name):
    """Pickled as this name, without looking at what it is."""
    import importlib
    import operator

    return operator.attrgetter(name)(importlib.import_module(module))


def _then(method):
    import operator

    return operator.methodcaller(method)


def _model(evil):
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    model.coef_ = evil
    return model


def _stateful(path):
    class Model:
        def __getstate__(self):
            return {"x": 1}

        def __setstate__(self, state):
            Path(path).touch()

    return Model()
