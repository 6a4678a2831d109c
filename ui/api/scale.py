"""Several replicas of the service behind one address, by Ray Serve (the extra `ray`).

Every replica is a process with its own model and its own batches; Ray's proxy hands each request
to one of the less busy ones. As a request holds its whole conversation, any of them can answer it.
"""

import os
import time
from typing import TYPE_CHECKING, Any

from chatbot.errors import ChatbotError, InputError
from ui.api.server import Service, Serving, build

if TYPE_CHECKING:
    from fastapi import FastAPI

APPLICATION = "chatbot"


def serve_on_ray(
    serving: Serving,
    *,
    name: str,
    model: str | None,
    device: str,
    host: str,
    port: int,
    replicas: int,
) -> None:
    """Serves until Ctrl-C, on this machine or on the cluster that `RAY_ADDRESS` names.

    Raises:
        InputError: Ray Serve is not installed.
        ChatbotError: the replicas could not be started.
    """
    ray_serve = start(
        serving, name=name, model=model, device=device, host=host, port=port, replicas=replicas
    )
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        pass
    finally:
        ray_serve.shutdown()


def start(
    serving: Serving,
    *,
    name: str,
    model: str | None,
    device: str,
    host: str,
    port: int,
    replicas: int,
) -> Any:
    """Starts the replicas and waits until they answer; gives Ray's module, for its `shutdown`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to others
    # A proxy that is not there in five seconds is ended and begun anew: too soon on a busy machine.
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")
    try:
        import ray
        from ray import serve as ray_serve
    except ImportError as error:
        raise InputError(
            f"Ray Serve is not installed ({error}); install it with "
            "pip install 'meena-controllable-chatbot[ray]'"
        ) from error

    def build_app() -> "FastAPI":  # runs in each replica
        return _replica(serving, name, model, device)

    deployment = ray_serve.deployment(
        name="replica",
        num_replicas=replicas,
        # Above what the batcher takes, so that a full queue is told by us, with 429.
        max_ongoing_requests=serving.max_queue + 2 * serving.max_batch,
        ray_actor_options={
            "num_cpus": 1,
            "num_gpus": 1 if device.startswith("cuda") else 0,
            "runtime_env": {"env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}},
        },
    )(ray_serve.ingress(build_app)())
    if not ray.is_initialized():
        # Only a cluster of our own may be told about its dashboard.
        dashboard = None if os.environ.get("RAY_ADDRESS") else False
        ray.init(log_to_driver=False, include_dashboard=dashboard)
    try:
        ray_serve.start(proxy_location="EveryNode", http_options={"host": host, "port": port})
        ray_serve.run(deployment.bind(), name=APPLICATION, route_prefix="/")
    except (RuntimeError, ray.exceptions.RayError) as error:
        ray_serve.shutdown()  # type: ignore[no-untyped-call]
        raise ChatbotError(f"the replicas could not be started: {error}") from error
    return ray_serve


def _replica(serving: Serving, name: str, model: str | None, device: str) -> "FastAPI":
    """The service of one replica, whose model has been loaded."""
    from ui.loading import loading

    bot = loading(model, device)
    bot.result()
    return build(Service(bot, name, serving))
