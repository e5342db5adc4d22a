"""How fast one serving process answers a row of 20 floats, with every duty on, beside servers that have none.

    python bench/serve.py [--seconds 3] [--rounds 3] [--connections 1 8 64]

The same model (XGBoost, 100 trees, as exact ONNX) behind: Holdfast's inference port (contract, ids, prediction log, metrics);
a plain ASGI function on stock uvicorn; a typed FastAPI endpoint; and uvicorn's hello world, which has no model. The server has
one core, the load generator another; rounds are interleaved and medians shown. Ratios hold on other machines, figures don't.
CPU is the server's own time per request: the one figure that a busy machine hardly moves. Every answer is read in full and
its status checked.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROW = [round(0.05 * n - 0.4, 3) for n in range(20)]
NAMES = [f"x{n:02d}" for n in range(20)]
SERVER_CORE, LOAD_CORE = 0, 1


# ---------------------------------------------------------------------------------------------- what is served


def build(folder: Path) -> Path:
    """A workspace with the release deployed as `bench`; returns the ONNX file."""
    import numpy as np
    import pandas as pd
    from xgboost import XGBRegressor

    import holdfast

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(6000, 20))
    truth = rows[:, 0] * rows[:, 1] + np.sin(3 * rows[:, 2]) + rng.normal(scale=0.1, size=6000)
    frame = pd.DataFrame(rows, columns=NAMES)
    model = XGBRegressor(n_estimators=100, max_depth=6, n_jobs=1).fit(frame[:3000], truth[:3000])
    workspace = holdfast.create_workspace(folder)
    release = holdfast.build_release(model, frame[3000:], truth[3000:], workspace=workspace, name="bench")
    subprocess.run(
        [sys.executable, "-m", "holdfast", "deploy", release.digest, "--as", "bench"], cwd=folder, check=True
    )
    return release.model


def start_holdfast(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """One worker by itself: the keeper's work is not the answer's."""
    from holdfast.server.child import Assignment, listen, start
    from holdfast.workspace import open_workspace

    listener = listen("127.0.0.1", 0, what="inference", setting="--port")
    settings = open_workspace(folder).settings
    child = start(
        "holdfast.server.worker",
        Assignment(folder=str(folder), settings=settings, name="w0", fd=listener.fileno()),
    )
    port = listener.getsockname()[1]
    listener.close()
    return child, port


def asgi(name: str, model: str) -> object:
    """The peers, each as its documentation would write it."""
    if name == "hello":

        async def hello(_scope: dict, _receive: object, send: object) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"13")]})
            await send({"type": "http.response.body", "body": b"Hello, world!"})

        return hello

    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    columns = [(one.name, np.float32 if "float" in one.type else np.float64) for one in session.get_inputs()]

    def run(rows: list[dict[str, float]]) -> list[float]:
        feeds = {n: np.array([row[n] for row in rows], kind).reshape(-1, 1) for n, kind in columns}
        return session.run(None, feeds)[0].reshape(-1).tolist()

    if name == "fastapi":
        from fastapi import FastAPI
        from pydantic import create_model

        row = create_model("Row", **dict.fromkeys(NAMES, (float, ...)))
        form = create_model("Question", instances=(list[row], ...))
        told = create_model("Answer", predictions=(list[float], ...))

        async def predict(question: object) -> object:
            return told(predictions=run([row.model_dump() for row in question.instances]))

        predict.__annotations__ = {"question": form, "return": told}
        app = FastAPI()
        app.post("/predict")(predict)
        return app

    import msgspec

    async def plain(_scope: dict, receive: object, send: object) -> None:
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        answer = msgspec.json.encode({"predictions": run(msgspec.json.decode(body)["instances"])})
        length = str(len(answer)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return plain


def serve_peer(name: str, model: str, fd: int) -> None:
    import uvicorn

    config = uvicorn.Config(asgi(name, model), log_level="error", access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=fd)])


def start_peer(name: str, model: Path) -> tuple[subprocess.Popen[bytes], int]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    command = [sys.executable, __file__, "--peer", name, str(model), str(listener.fileno())]
    child = subprocess.Popen(command, pass_fds=[listener.fileno()])
    port = listener.getsockname()[1]
    listener.close()
    return child, port


# ---------------------------------------------------------------------------------------------- load


def question(name: str) -> bytes:
    instances = json.dumps({"instances": [dict(zip(NAMES, ROW, strict=True))]}).encode()
    if name == "holdfast, rows":
        path, body = "/v1/models/bench:predict", instances
    elif name == "holdfast, tensors":
        tensors = [{"name": n, "shape": [1], "datatype": "FP64", "data": [x]} for n, x in zip(NAMES, ROW, strict=True)]
        path, body = "/v2/models/bench/infer", json.dumps({"inputs": tensors}).encode()
    elif name == "holdfast, tensor":
        tensor = {"name": "input", "shape": [1, 20], "datatype": "FP64", "data": ROW}
        path, body = "/v2/models/bench/infer", json.dumps({"inputs": [tensor]}).encode()
    elif name == "hello":
        return b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    else:
        path, body = "/predict", instances
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def whole(data: bytes) -> bool:
    """Whether this is a whole answer; raises if it is not 200."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    if not data.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(data.decode("latin-1"))
    at = data.lower().index(b"content-length: ", 0, end) + 16
    return len(data) == end + 4 + int(data[at : data.index(b"\r", at)])


def load(port: int, asked: bytes, connections: int, seconds: float) -> tuple[float, list[float]]:
    """Requests a second and latencies in ms: each connection asks again as soon as it was answered."""
    poll, lines = select.epoll(), {}
    for _ in range(connections):
        line = socket.create_connection(("127.0.0.1", port))
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(line, select.EPOLLIN)
        lines[line.fileno()] = line
    clock, took = time.perf_counter, []
    asked_at, part = {}, dict.fromkeys(lines, b"")
    for number, line in lines.items():
        asked_at[number] = clock()
        line.send(asked)
    began = clock()
    while (now := clock()) < began + seconds:
        for number, _ in poll.poll(1):
            line = lines[number]
            data = line.recv(65_536)
            if not data:
                raise RuntimeError("the server closed the connection")
            if part[number]:
                data = part[number] + data
            if not whole(data):
                part[number] = data
                continue
            part[number] = b""
            now = clock()
            took.append(now - asked_at[number])
            asked_at[number] = now
            line.send(asked)
    for line in lines.values():
        line.close()
    return len(took) / (now - began), [t * 1e3 for t in took]


def cpu(process: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(port: int, asked: bytes) -> None:
    deadline = time.monotonic() + 60
    while not load(port, asked, 1, 0.3)[1]:
        if time.monotonic() > deadline:
            raise RuntimeError("the server does not answer")


# ---------------------------------------------------------------------------------------------- the table


def measure(folder: Path, arguments: argparse.Namespace) -> None:
    model = build(folder)
    names = ["holdfast, tensor", "holdfast, tensors", "holdfast, rows", "plain", "fastapi", "hello"]
    os.sched_setaffinity(0, {SERVER_CORE})  # the servers inherit it
    servers = {"holdfast": start_holdfast(folder), **{name: start_peer(name, model) for name in names[3:]}}
    os.sched_setaffinity(0, {LOAD_CORE % (os.cpu_count() or 1)})
    ports = {name: servers[name.partition(",")[0]][1] for name in names}
    rates = {(name, c): [] for name in names for c in arguments.connections}
    latencies = {key: [] for key in rates}
    costs = dict.fromkeys(rates, 0.0)
    try:
        for name in names:
            wait_for(ports[name], question(name))
        for _ in range(arguments.rounds):
            for (name, connections), found in rates.items():
                process = servers[name.partition(",")[0]][0].pid
                before = cpu(process)
                rate, took = load(ports[name], question(name), connections, arguments.seconds)
                found.append(rate)
                costs[name, connections] += cpu(process) - before
                latencies[name, connections] += took
    finally:
        for child, _ in servers.values():
            child.send_signal(signal.SIGTERM)
            child.wait()
    show(rates, latencies, costs)


def show(rates: dict, latencies: dict, costs: dict) -> None:
    titles = ("requests/s", "x FastAPI", "x hello", "p50 ms", "p99 ms", "CPU us", "x FastAPI")
    print(f"{'server':<18} {'conn.':>5}" + "".join(f"{title:>12}" for title in titles))
    per = {key: 1e6 * costs[key] / len(took) for key, took in latencies.items()}
    for key, found in rates.items():
        name, connections = key
        peer = ("fastapi", connections)
        rate = statistics.median(found)
        cuts = statistics.quantiles(latencies[key], n=100)
        faster, cheaper = rate / statistics.median(rates[peer]), per[peer] / per[key]
        bare = rate / statistics.median(rates["hello", connections])
        figures = f"{rate:>12,.0f}{faster:>12.2f}{bare:>12.2f}{cuts[49]:>12.2f}{cuts[98]:>12.2f}{per[key]:>12.1f}{cheaper:>12.2f}"
        print(f"{name:<18} {connections:>5}{figures}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--peer", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        name, model, fd = arguments.peer
        serve_peer(name, model, int(fd))
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), arguments)


if __name__ == "__main__":
    main()
