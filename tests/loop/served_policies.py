"""A server of every policy whose weights this machine has fetched, each under the name of its folder."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from itpo_core.tiny_policy import load_policy, suppressed_ids
from itpo_core.tokens import ChatFormat
from tests.itpo_core.fake_server import Document, FakeServer, Spoilt, start


class PolicyServer:
    """Loads a policy when it is first asked for, and understates the probabilities of every second turn.

    `skew` is by how much, in nats, as an engine would that computes otherwise than the trainer.
    """

    def __init__(self, weights: Path, *, skew: float) -> None:
        self._weights = weights
        self._skew = skew
        self._lock = threading.Lock()
        self.policies: dict[str, FakeServer] = {}
        self.address = ""

    @property
    def answers(self) -> int:
        """How many requests came in."""
        return sum(len(policy.asked) for policy in self.policies.values())

    def take(self, path: str, body: Document, headers: dict[str, str]) -> tuple[Spoilt, bytes]:
        """The answer of the policy that is asked for."""
        spoilt, raw = self._policy(body["model"]).take(path, body, headers)
        answer = json.loads(raw)
        if body["seed"] % 2:
            told = answer["choices"][0]["logprobs"]
            told["token_logprobs"] = [each - self._skew for each in told["token_logprobs"]]
        return spoilt, json.dumps(answer).encode()

    def _policy(self, name: str) -> FakeServer:
        with self._lock:
            if name not in self.policies:
                model, tokenizer = load_policy(self._weights / name)
                chat = ChatFormat.from_tokenizer(tokenizer, suppressed_ids(model))
                self.policies[name] = FakeServer(model, chat, name)
            return self.policies[name]


@contextmanager
def serving_policies(weights: Path, *, skew: float = 0.0) -> Iterator[PolicyServer]:
    """A server for the length of a block, on a free port of loopback."""
    server = PolicyServer(weights, skew=skew)
    http = start(server)
    yield server
    http.shutdown()
    http.server_close()
