"""Rollouts: conversations per CPU-second against a loop over `model.generate`, and the gap to bare products.

Run as `python -m benchmarks.run rollouts`.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.generate_loop import SPEAKERS, generation_of, hold
from itpo_core.engines.base import Engine, Sampling, Session
from itpo_core.engines.decoding import Indices, Place, Stepper
from itpo_core.engines.fused_qwen2 import fused_qwen2_steppers
from itpo_core.engines.transformers import TransformersEngine, TransformersSession
from itpo_core.envs.sales import SalesEnvironment
from itpo_core.envs.sales_language import vocabulary
from itpo_core.envs.sales_logs import ScriptedSalesperson
from itpo_core.rollout import RolloutSpec, run_conversations
from itpo_core.sampling import row_uniforms
from itpo_core.streams import TurnTokens, streams
from itpo_core.tiny_policy import Size, create_policy, suppressed_ids
from itpo_core.tokens import ChatFormat
from itpo_core.trainers.warm_start import EncodedRows, WarmStartSettings, warm_start
from itpo_core.types import Conversation, Message, Split

PRESET = "small"
BATCH = 128
CONTEXT = 256
SAMPLING = Sampling(temperature=1.0, max_new_tokens=16)
GREEDY = Sampling(temperature=0.0, max_new_tokens=16)
REPEATS = 7
# Of fresh sizes, which take long and only show where the engine stops to matter.
FEW_REPEATS = 2
SEED = 1
FRESH_SIZES: tuple[Size, ...] = ("s", "m", "l")


@dataclass(frozen=True, slots=True)
class Policy:
    """A model with its format."""

    model: PreTrainedModel
    chat: ChatFormat


@dataclass(frozen=True, slots=True)
class Held:
    """What one way of holding the batch took: CPU-seconds of each repeat; turns and tokens a conversation."""

    cpu_s: tuple[float, ...]
    turns: float
    tokens: float

    @property
    def conversations_per_s(self) -> float:
        """At the fastest repeat: what else the machine does only ever adds time."""
        return BATCH / min(self.cpu_s)

    @property
    def tokens_per_s(self) -> float:
        """Tokens of the policy, at the fastest repeat."""
        return self.conversations_per_s * self.tokens


def main() -> str:
    """The section of docs/benchmarks.md."""
    torch.set_num_threads(1)
    environment = SalesEnvironment(PRESET)
    warm = warmed("xs")
    same = same_conversations(warm, environment)
    print(f"greedy conversations equal in all three ways: {same} of {BATCH}", flush=True)
    sizes = {"xs, warm-started": warm} | {f"{size}, fresh": fresh(size) for size in FRESH_SIZES}
    lines = [
        row(name, policy, environment=environment, repeats=REPEATS if policy is warm else FEW_REPEATS)
        for name, policy in sizes.items()
    ]
    return "\n".join([*introduction(same), *lines, ""])


def introduction(same: int) -> list[str]:
    """Heading, method and the head of the table."""
    return [
        "## Rollouts",
        "",
        f"`python -m benchmarks.run rollouts`: {BATCH} conversations of the sales domain ({PRESET} preset) "
        f"at once, one thread, CPU-seconds, the fastest of {REPEATS} repeats ({FEW_REPEATS} of fresh models) "
        "that take turns. The loops over `model.generate` use the same users, seeds, limits and token "
        "suppression and drop finished conversations; each is run bare and with the log-probabilities of its "
        "tokens, which the engine always records and training needs. With greedy decoding "
        f"{same} of {BATCH} conversations were equal in all three ways, message by message. The bound is the "
        "bare matrix products of the engine's passes. A fresh model speaks at random and mostly to the limit "
        "of the turn.",
        "",
        "Conversations per CPU-second:",
        "",
        "| model | engine | from the start | + log-probs | cache carried | + log-probs "
        "| ratio to the better bare | to the better with log-probs | to the better bare, per token "
        "| engine / bare products |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]


def row(name: str, policy: Policy, *, environment: SalesEnvironment, repeats: int) -> str:
    """One line of the table; the ratio per token is there because lengths differ a little by chance."""
    ways = {"engine": engine_way(policy, environment)} | {
        f"{way}{more}": loop_way(policy, environment, way=way, with_logprobs=bool(more))
        for way in SPEAKERS
        for more in ("", " + log-probs")
    }
    held = measured(ways, repeats)
    engine, *loops = held.values()
    bound_s = bare_products_s(policy, environment)
    print(name, held, bound_s, flush=True)
    cells = [
        name,
        *(f"{way.conversations_per_s:.0f}" for way in held.values()),
        f"{engine.conversations_per_s / max(loop.conversations_per_s for loop in loops[::2]):.2f}",
        f"{engine.conversations_per_s / max(loop.conversations_per_s for loop in loops[1::2]):.2f}",
        f"{engine.tokens_per_s / max(loop.tokens_per_s for loop in loops[::2]):.2f}",
        f"{min(engine.cpu_s) / bound_s:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


# One repeat: seed -> conversations as lists of the policy's turns
Way = Callable[[int], list[list[Sequence[int]]]]


def measured(ways: dict[str, Way], repeats: int) -> dict[str, Held]:
    """All ways in turn, after one unmeasured round, so that a slow minute of the machine hits them alike."""
    cpu_s: dict[str, list[float]] = {name: [] for name in ways}
    turns: dict[str, list[list[Sequence[int]]]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            begun_s = time.process_time()
            conversations = way(SEED)
            if repeat:
                cpu_s[name].append(time.process_time() - begun_s)
                turns[name] = conversations
    return {
        name: Held(
            tuple(cpu_s[name]),
            turns=statistics.mean(len(c) for c in turns[name]),
            tokens=statistics.mean(sum(map(len, c)) for c in turns[name]),
        )
        for name in ways
    }


def engine_way(policy: Policy, environment: SalesEnvironment) -> Way:
    """Our rollouts."""
    engine = TransformersEngine(policy.model, policy.chat, max_context_tokens=CONTEXT)

    def way(seed: int) -> list[list[Sequence[int]]]:
        conversations = rollouts(engine, environment, seed=seed, sampling=SAMPLING)
        return [[turn.response_ids for turn in c.turns] for c in conversations]

    return way


def loop_way(policy: Policy, environment: SalesEnvironment, *, way: str, with_logprobs: bool) -> Way:
    """A loop over `model.generate`."""
    generation = generation_of(policy.model, SAMPLING, with_logprobs=with_logprobs)

    def loop(seed: int) -> list[list[Sequence[int]]]:
        torch.manual_seed(seed)
        speaker = SPEAKERS[way](policy.model, generation)
        talks = hold(speaker, policy.chat, environment=environment, specs=specs_of(environment, seed=seed))
        return [list(talk.turns) for talk in talks]

    return loop


def specs_of(environment: SalesEnvironment, *, seed: int) -> list[RolloutSpec]:
    """Sixteen scenarios in groups of eight."""
    scenarios = environment.scenarios(Split.SEEN, count=BATCH // 8, seed=seed)
    return [
        RolloutSpec(f"c{i}", f"g{i // 8}", i % 8, seed=1000 * seed + i, scenario=scenarios[i // 8])
        for i in range(BATCH)
    ]


def rollouts(
    engine: Engine, environment: SalesEnvironment, *, seed: int, sampling: Sampling
) -> list[Conversation]:
    """One batch of ours."""
    return run_conversations(
        engine, environment, oracle=None, specs=specs_of(environment, seed=seed), sampling=sampling
    )


def same_conversations(policy: Policy, environment: SalesEnvironment) -> int:
    """How many conversations are equal in all three ways when nothing is left to chance."""
    engine = TransformersEngine(policy.model, policy.chat, max_context_tokens=CONTEXT)
    ours = [list(c.messages) for c in rollouts(engine, environment, seed=1, sampling=GREEDY)]
    generation = generation_of(policy.model, GREEDY)
    specs = specs_of(environment, seed=1)
    loops = [
        [
            t.messages
            for t in hold(make(policy.model, generation), policy.chat, environment=environment, specs=specs)
        ]
        for make in SPEAKERS.values()
    ]
    return sum(all(ours[i] == loop[i] for loop in loops) for i in range(BATCH))


def fresh(size: Size) -> Policy:
    """A policy that has learned nothing."""
    model, tokenizer = create_policy(vocabulary(PRESET), size, seed=0)
    return Policy(model, ChatFormat.from_tokenizer(tokenizer, suppressed_ids(model)))


def warmed(size: Size) -> Policy:
    """A policy after the supervised start on scripted logs, so that turns are as long as in training."""
    policy = fresh(size)
    salesperson = ScriptedSalesperson(PRESET)
    warm_start(
        policy.model,
        encoded(policy.chat, salesperson.conversations(count=1500, seed=0)),
        requests=encoded(policy.chat, salesperson.direct_requests(count=1500, seed=0)),
        settings=WarmStartSettings(),
    )
    return Policy(policy.model.eval(), policy.chat)


def encoded(chat: ChatFormat, conversations: Sequence[Conversation]) -> EncodedRows:
    """Logged conversations as rows of tokens."""
    rows = streams(
        {
            str(i): [
                TurnTokens(prompt, response) for prompt, response in chat.encode_conversation(c.messages)
            ]
            for i, c in enumerate(conversations)
        }
    )
    return EncodedRows(rows.tokens_BT, rows.is_policy_BT, rows.lengths_B)


@dataclass(frozen=True, slots=True)
class Step:
    """The shape of one pass: slots, tokens fed to each, cells in use."""

    slots: int
    count: int
    used: int


class Recorder:
    """A stepper that notes the shape of every pass."""

    def __init__(self, stepper: Stepper, steps: list[Step]) -> None:
        self._stepper = stepper
        self._steps = steps

    def feed(self, tokens_ST: Indices, place: Place) -> Tensor:
        """See `Stepper.feed`."""
        slots, count = tokens_ST.shape
        self._steps.append(Step(slots, count, place.used))
        return self._stepper.feed(tokens_ST, place)

    def move(self, source: Indices, target: Indices) -> None:
        """See `Stepper.move`."""
        self._stepper.move(source, target)


class RecordingEngine:
    """Our engine with a recorder between session and model."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._steppers = fused_qwen2_steppers(policy.model, CONTEXT)
        self.steps: list[Step] = []

    def open(
        self,
        openings: Sequence[Sequence[Message]],
        *,
        seeds: Sequence[int],
        sampling: Sampling,
        temperatures: Sequence[Sequence[float]] | None = None,
    ) -> Session:
        """See `Engine.open`."""
        return TransformersSession(
            Recorder(self._steppers(len(openings)), self.steps),
            self._policy.chat,
            streams=[self._policy.chat.opening_ids(opening) for opening in openings],
            uniforms_BT=row_uniforms(seeds, CONTEXT),
            sampling=sampling,
            temperatures=temperatures,
            max_fed_tokens=16_384,
        )


@torch.inference_mode()
def bare_products_s(policy: Policy, environment: SalesEnvironment) -> float:
    """CPU-seconds of the matrix products alone, at the shapes of one batch's passes; the fastest repeat."""
    engine = RecordingEngine(policy)
    rollouts(engine, environment, seed=1, sampling=SAMPLING)
    taken_s = []
    for _ in range(REPEATS):
        begun_s = time.process_time()
        for step in engine.steps:
            products(policy.model, step)
        taken_s.append(time.process_time() - begun_s)
    return min(taken_s)


def products(model: PreTrainedModel, step: Step) -> None:
    """The products of one step, with nothing between them; weights do not matter, shapes do."""
    config = model.config
    hidden, heads, kv_heads = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
    width, fed = hidden // heads, step.slots * step.count
    shared = heads // kv_heads * step.count
    for _ in range(config.num_hidden_layers):
        torch.empty(fed, hidden) @ torch.empty(hidden, (heads + 2 * kv_heads) * width)
        scores = torch.empty(step.slots * kv_heads, shared, width).bmm(
            torch.empty(step.slots * kv_heads, width, step.used)
        )
        scores.bmm(torch.empty(step.slots * kv_heads, step.used, width))
        torch.empty(fed, hidden) @ torch.empty(hidden, hidden)
        torch.empty(fed, hidden) @ torch.empty(hidden, 2 * config.intermediate_size)
        torch.empty(fed, config.intermediate_size) @ torch.empty(config.intermediate_size, hidden)
    torch.empty(step.slots, hidden) @ torch.empty(hidden, config.vocab_size)


if __name__ == "__main__":
    print(main())
