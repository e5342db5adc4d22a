"""What the inference port tells of itself: health, metadata, metrics, and which models are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.errors import NotFound
from holdfast.http.problems import JSON, Refused, Reply, json
from holdfast.serve import dataplane

if TYPE_CHECKING:
    from holdfast.http.routes import Action

__all__ = ["tell"]

METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"


def tell(
    asked: Action, plan: dataplane.LoadedPlan, state: dataplane.ServeState, control: str, *, draining: bool
) -> Reply:
    """The reply to what asks for no prediction.

    Args:
        asked: what; a verb of `routes`.
        plan: what answers.
        state: of this process.
        control: address of the control port.
        draining: this process is about to end; whoever sends it requests should look elsewhere.
    """
    match asked.verb:
        case "live" | "ready" | "ping" | "model_ready":
            return _health(asked, plan, draining=draining)
        case "repository" | "load" | "unload":
            return _repository(asked, plan)
        case "metadata":
            return json(200, dataplane.metadata(asked.name, asked.version, plan))
        case "metrics":
            return Reply(200, state.metrics.render(), METRICS)
        case "server":
            return json(200, dataplane.server_metadata())
        case "version":
            return Reply(200, dataplane.server_metadata()["version"].encode(), "text/plain")
        case _:
            return json(200, {"name": "holdfast", "is": "the inference port", "speaks": "/v2", "control": control})


def _health(asked: Action, plan: dataplane.LoadedPlan, *, draining: bool) -> Reply:
    status = 503 if draining else 200
    match asked.verb:
        case "live":
            return json(200, {"live": True})
        case "ready":
            return json(status, {"ready": not draining})
        case "ping":  # MLflow's and SageMaker's: whether there is a model that answers
            if asked.name:
                dataplane.ready(asked.name, asked.version, plan)
            return Reply(status if plan.deployments else 503, b"\n", JSON)
        case _:
            return json(status, dataplane.ready(asked.name, asked.version, plan) | {"ready": not draining})


def _repository(asked: Action, plan: dataplane.LoadedPlan) -> Reply:
    """The model repository extension, as far as it maps: what is deployed is loaded, and only its owner changes that."""
    if asked.verb == "repository":
        return json(200, dataplane.index(plan))
    name = asked.name[:64]
    if asked.verb == "unload":
        raise Refused("this port undeploys nothing", f"'{name}'", f"holdfast undeploy {name}", status=403)
    if asked.name not in plan.deployments:
        raise NotFound("this port deploys nothing", f"'{name}'", f"holdfast deploy RELEASE --as {name}")
    return json(200, dataplane.ready(asked.name, None, plan))
