"""optuna-dashboard on a study: on this machine only, and for reading only, while sweeps may go on writing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import BaseStorage, get_storage

from simmoe.simulator.errors import Missing, UserError
from simmoe.sweeps import journal
from simmoe.sweeps.database import reached
from simmoe.sweeps.opening import located, stored
from simmoe.sweeps.quiet import quiet
from simmoe.sweeps.study import with_facts

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

HOST = "127.0.0.1"
INSTALL = "pip install 'simmoe[sweep]'"


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line for each request is not for the user."""


def serve(study: str | Path, storage: str | None, port: int, said: Callable[[str], None]) -> None:
    """Serve until the process is interrupted, which is how a user ends it. `said` is called with the address of the study's page.

    Raises UserError.
    """
    try:
        import optuna_dashboard
    except ImportError:
        raise Missing(f"the dashboard needs optuna-dashboard, which is not installed; run: {INSTALL}") from None
    with quiet():
        kept, number = _kept(study, storage)
        app = for_reading(optuna_dashboard.wsgi(kept))
        with _server(port, app) as server, suppress(KeyboardInterrupt):
            said(f"http://{HOST}:{server.server_port}/dashboard/studies/{number}")
            server.serve_forever()


def for_reading(app: WSGIApplication) -> WSGIApplication:
    """The same pages, of which none can rename, delete or add anything."""

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return app(environ, start)
        start("405 Method Not Allowed", [("Content-Type", "application/json"), ("Allow", "GET, HEAD")])
        return [b'{"reason": "simmoe serves studies for reading only"}']

    return answer


def _kept(study: str | Path, storage: str | None) -> tuple[BaseStorage, int]:
    """The storage of a study as the dashboard reads it, and the study's number there. Raises UserError."""
    at = located(study, storage)
    if isinstance(at, Path):
        journal.whole(at)  # says what is wrong with it
        kept: BaseStorage = journal.storage(at)
        name = kept.get_all_studies()[0].study_name
    else:
        with reached(at):
            name = stored(at, how="--storage URL and the study's name").study_name
            kept = get_storage(at.storage())
    read = kept.get_all_trials
    kept.get_all_trials = lambda *a, **k: [*with_facts(read(*a, **k))]  # type: ignore[method-assign]
    return kept, kept.get_study_id_from_name(name)


def _server(port: int, app: WSGIApplication) -> WSGIServer:
    if not 0 <= port < 2**16:
        raise UserError(f"--port {port} is out of range; give 0 to {2**16 - 1}")
    try:
        return make_server(HOST, port, app, server_class=Server, handler_class=Quiet)
    except OSError as error:
        raise UserError(f"--port {port} cannot be used ({error.strerror}); give another, or 0 for a free one") from None
