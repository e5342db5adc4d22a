"""A real gRPC server in the test's own process, over the releases of `tests/unit/serve`, and a client beside it."""

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest
import tritonclient.grpc as triton
from tests.unit.serve import conftest as town

from holdfast.errors import HoldfastError
from holdfast.predictions.log import Frame
from holdfast.rpc.port import serve
from holdfast.rpc.service import Service
from holdfast.serve.guards import Admission
from holdfast.serve.lane import Lane

LIMIT = 1 << 20
CALLS = 8
digests, house, plan, state = town.digests, town.house, town.plan, town.state


class Door:
    """A server in a thread."""

    def __init__(
        self,
        plan: Any,
        state: Any,
        admission: Admission | None = None,
        tls: Any = None,
        request_s: float = 10.0,
        heard: Any = None,
    ) -> None:
        self.admission = admission or Admission()
        self.request_s = request_s
        self.heard = heard
        self.lane = Lane()
        self.frames: list[list[Frame]] = []
        self.looked = 0
        self.broken: HoldfastError | None = None
        self.service: Service
        with socket.socket() as reserved:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reserved.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{reserved.getsockname()[1]}"
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
            self._thread.start()
            self.port = self.run(self._open(plan, state, tls))

    async def _open(self, plan, state, tls):
        self.service = Service(
            plan=plan,
            state=state,
            admission=self.admission,
            lane=self.lane,
            commit=self._commit,
            look=self.look,
            heard=self.heard,
        )
        return await serve(
            self.address, self.service, max_message=LIMIT, calls=CALLS, idle_s=60.0, request_s=self.request_s, tls=tls
        )

    def look(self) -> None:
        self.looked += 1

    def _commit(self, frames: Sequence[Frame], then: Any) -> None:
        self.frames.append(list(frames))
        then(self.broken)

    def run(self, coroutine: Any) -> Any:
        """In the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def close(self) -> None:
        self.run(self.port.drain(1.0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.lane.close()


@pytest.fixture
def door(plan, state) -> Iterator[Door]:
    found = Door(plan, state)
    yield found
    found.close()


@pytest.fixture
def client(door) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(door.address) as found:
        yield found


@pytest.fixture
def channel(door) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(door.address) as found:
        yield found
