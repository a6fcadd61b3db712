"""A moto in this process whose door writes down every request."""

import contextlib
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


@dataclass(frozen=True)
class CountingServer:
    """The endpoint, and the method and path of every request in the order in which they came."""

    endpoint: str
    requests: list[tuple[str, str]] = field(default_factory=list)

    def of(self, ending: str) -> list[str]:
        """The methods of the requests for paths with this ending."""
        return [method for method, path in self.requests if path.endswith(ending)]


class Silent(WSGIRequestHandler):
    """Nothing is printed, and connections are kept open as real servers do."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Not a word."""


@contextlib.contextmanager
def counting_server() -> Generator[CountingServer, None, None]:
    """A server on loopback until the block ends."""
    moto = DomainDispatcherApplication(create_backend_app)
    requests: list[tuple[str, str]] = []
    one_by_one = threading.Lock()

    def counting(environ: dict[str, object], start_response: object) -> Iterable[bytes]:
        requests.append((str(environ["REQUEST_METHOD"]), str(environ["PATH_INFO"])))
        # moto looks at a condition and then writes, while another thread may write too: two racers could win.
        with one_by_one:
            return list(moto(environ, start_response))

    server = make_server("127.0.0.1", 0, counting, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield CountingServer(f"http://127.0.0.1:{server.server_port}", requests)
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
