"""The light client keeps order, keeps connections, and says what went wrong."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from holdfast.demo.client import Client
from holdfast.errors import ServeError


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.add(self.client_address)
        again = b"busy" in body and self.server.busy > 0
        self.server.busy -= again
        self.send_response(503 if again else 422 if b"bad" in body else 200)
        if again:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815 - the name that the library calls

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as http:
        http.daemon_threads = True
        http.seen = set()
        http.busy = 0
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield http
        http.shutdown()
        thread.join()


@pytest.fixture
def client(server):
    client = Client(f"http://127.0.0.1:{server.server_port}", 3)
    yield client
    client.close()


def test_answers_come_in_the_order_of_requests_over_few_connections(server, client):
    bodies = [b'{"n": %d, "pad": "%s"}' % (i, b"x" * (i * 97 % 5000)) for i in range(200)]
    assert [r.body for r in client.post_all("/p", bodies)] == bodies
    assert [r.json()["n"] for r in client.post_all("/p", bodies[:2])] == [0, 1]
    assert len(server.seen) == 3


def test_a_body_larger_than_one_read_comes_whole(client):
    body = {"text": "y" * 3_000_000}
    assert client.post("/p", body) == body


def test_a_busy_server_is_asked_again_when_it_says(server, client):
    server.busy = 1
    began = time.monotonic()
    assert [r.status for r in client.post_all("/p", [b'"busy"', b'"idle"'])] == [200, 200]
    assert time.monotonic() - began >= 1.0
    assert server.busy == 0


def test_a_refusal_is_an_error_with_what_the_server_said(client):
    with pytest.raises(ServeError) as caught:
        client.post("/p", {"bad": "row 0, field 'age'"})
    assert "422" in caught.value.what
    assert "field 'age'" in caught.value.where


def test_a_server_that_is_gone_is_told():
    client = Client("http://127.0.0.1:9")
    with pytest.raises(ServeError):
        client.get("/v1/alarms")
    client.close()
