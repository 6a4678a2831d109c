"""Several replicas of the service behind one address, by Ray Serve (the extra `ray`).

Every replica is a process with its own model and its own batches; Ray's proxy hands each request
to one of the less busy ones. Any of them can answer it: a request holds its whole conversation, or
names one that lies in a file that all of them read and write.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatbot.errors import ChatbotError, InputError
from ui.api.kept import KeptConversations
from ui.api.server import Service, Serving, build

if TYPE_CHECKING:
    from fastapi import FastAPI

APPLICATION = "chatbot"


@dataclass(frozen=True, slots=True)
class Replica:
    """What each of the replicas is.

    Attributes:
        name: of the model for clients.
        load: gives the bot to come.
        store: file of stored conversations; None keeps none.
        n_gpus: for each replica.
    """

    serving: Serving
    name: str
    load: Callable[[], "Future[Any]"]
    store: str | None = None
    n_gpus: int = 0

    def build(self) -> "FastAPI":
        """The service, whose model has been loaded."""
        kept = None if self.store is None else KeptConversations(self.store, is_shared=True)
        bot = self.load()
        bot.result()
        return build(Service(bot, self.name, self.serving, kept))


def serve_on_ray(replica: Replica, *, host: str, port: int, replicas: int) -> None:
    """Serves until Ctrl-C, on this machine or on the cluster that `RAY_ADDRESS` names.

    Raises:
        InputError: Ray Serve is not installed, or the file of conversations cannot be shared.
        ChatbotError: the replicas could not be started.
    """
    ray_serve = start(replica, host=host, port=port, replicas=replicas)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        pass
    finally:
        ray_serve.shutdown()


def start(replica: Replica, *, host: str, port: int, replicas: int) -> Any:
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

    if replica.store is not None:  # replicas start in other folders
        replica = replace(replica, store=str(Path(replica.store).expanduser().absolute()))

    def build_app() -> "FastAPI":  # runs in each replica
        return replica.build()

    serving = replica.serving
    deployment = ray_serve.deployment(
        name="replica",
        num_replicas=replicas,
        # Above what the batcher takes, so that a full queue is told by us, with 429.
        max_ongoing_requests=serving.max_queue + 4 * serving.max_batch,
        ray_actor_options={
            "num_cpus": 1,
            "num_gpus": replica.n_gpus,
            "runtime_env": {"env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}},
        },
    )(ray_serve.ingress(build_app)())
    if not ray.is_initialized():
        # Only a cluster of our own may be told about its dashboard.
        dashboard = None if os.environ.get("RAY_ADDRESS") else False
        ray.init(log_to_driver=False, include_dashboard=dashboard)
    machines = sum(node["Alive"] for node in ray.nodes())  # type: ignore[no-untyped-call]
    if replica.store is not None and machines > 1:
        raise InputError(
            f"the cluster has {machines} machines, which cannot share {replica.store}: SQLite "
            "needs one machine; leave out --store, or start a cluster of one"
        )
    try:
        ray_serve.start(proxy_location="EveryNode", http_options={"host": host, "port": port})
        ray_serve.run(deployment.bind(), name=APPLICATION, route_prefix="/")
    except (RuntimeError, ray.exceptions.RayError) as error:
        ray_serve.shutdown()  # type: ignore[no-untyped-call]
        raise ChatbotError(f"the replicas could not be started: {error}") from error
    return ray_serve
