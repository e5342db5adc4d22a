"""The small version of `bench.torture overload` and `slow`: whatever comes, only answers, 503 and 413 go out, and nothing is lost."""

import asyncio

import pytest
from bench.torture.busy import Crowd, Heard, question, workspace
from bench.torture.load import counter, get
from bench.torture.slow import Enemies
from tests.faults.town import Server

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.xdist_group("overload")]


@pytest.mark.parametrize("layers", [1, 64], ids=["in the loop", "in threads"])
def test_more_than_it_can_do(tmp_path, layers):
    server = Server(workspace(tmp_path, layers, "queue_ms = 5\n"))

    async def story() -> tuple[Heard, bytes]:
        crowd = Crowd(server.inference)
        await crowd.grow(300)
        heard = await crowd.come(4000.0, 1.0, question(400))
        await crowd.leave()
        return heard, await get(server.inference, "/metrics")

    try:
        heard, metrics = asyncio.run(story())
        assert not heard.other
        assert heard.good
        assert heard.shed
        assert counter(metrics, "requests_total") == len(heard.good)
        assert counter(metrics, "refusals_total") == heard.shed
        assert server.stop()[0] == 0
    finally:
        server.close()


def test_slow_clients_keep_nobody_from_an_answer(tmp_path):
    server = Server(workspace(tmp_path, 1, "max_connections = 40\nrequest_timeout_s = 1\n"))

    async def story() -> Heard:
        enemies = Enemies(server.inference)
        crowd = Crowd(server.inference)
        await crowd.grow(8)
        stories = [enemies.drip] * 15 + [enemies.flood] * 4
        tasks = [asyncio.create_task(enemies.again(story, number)) for number, story in enumerate(stories)]
        heard = await crowd.come(50.0, 2.0, question(1))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await crowd.leave()
        return heard

    try:
        heard = asyncio.run(story())
        assert not heard.other
        assert not heard.shed
        assert len(heard.good) + heard.unsent > 50
        assert server.stop()[0] == 0
    finally:
        server.close()
