"""Section [openrlhf]: the cluster, and what OpenRLHF is told beyond what [train] and [improve] already say.

What OpenRLHF would refuse only on the cluster, or accept and do something else, is refused here by the names
of our keys. `docs/openrlhf.md` explains every key.
"""

from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.config_credit import Algorithm, Credit
from tasks.config_parts import Fraction, NonNegative, Positive, PositiveFloat, Section
from tasks.config_train import Train

Layout = Literal["colocated", "split", "async"]
Way = Literal["iterative_ppo", "committed", "online"]
# credit.advantage with credit.std as OpenRLHF calls it; a pair that is not here has no counterpart there.
ESTIMATORS = MappingProxyType(
    {
        ("grpo", "group"): "group_norm",
        ("grpo", "none"): "dr_grpo",
        ("rloo", "group"): "rloo",
        ("ppo", "group"): "gae",
        ("reinforce_pp", "group"): "reinforce",
        ("reinforce_pp_baseline", "group"): "reinforce_baseline",
    }
)
OF_TURNS = frozenset({"gae", "reinforce"})
# What turns of conversations that are held inside can be credited by: scores and outcomes, no Q, no judge.
CREDIT_ONLINE = frozenset(
    {
        Algorithm.OUTCOME,
        Algorithm.UNIFORM,
        Algorithm.ITPO,
        Algorithm.NORM_ITPO,
        Algorithm.NORM_ITPO_SIGNED,
        Algorithm.NORM_ITPO_SHARE,
        Algorithm.ITPO_PLUS_OUTCOME,
        Algorithm.IMMEDIATE_PLUS_OUTCOME,
    }
)
# What goes through OpenRLHF's own critic: rewards that a turn has by itself.
CRITIC_ONLINE = frozenset({Algorithm.OUTCOME, Algorithm.ITPO})
COMPARES_SIBLINGS = frozenset({"group_norm", "dr_grpo", "rloo", "reinforce_baseline"})


class Server(Section):
    """A vLLM server for simulated users and judges, on GPUs of its own."""

    model: str
    gpus: Positive = 2  # it is spread over all of them (tensor parallel)
    port: Annotated[int, Field(ge=1024, le=65535)] = 8001
    max_context_tokens: Positive = 8192
    memory_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9


class OpenRlhf(Section):
    """How one training runs on a Ray cluster of `nodes` with `gpus_per_node` each.

    - `layout` "colocated": all models and engines share all GPUs and take turns; "split": `engine_gpus` of
      each node generate, `critic_gpus` hold the critic, the rest trains; "async": as split, generation and
      training overlap, and the critic shares the GPUs that train.
    - `rollouts` (of all algorithms but iterative_ppo, which draws fresh replies): "committed" trains on the
      lake's conversations with their credit, one sample a conversation; "online" holds new ones inside.
    - `reward` of iterative_ppo: "agent" draws replies by our agent, token by token the policy's; "file" and
      "http" leave that to OpenRLHF, on texts, and ask our file or OpenRLHF itself asks the service. That is
      one of the stage's own, or the one at `reward_url`. What lies outside `reward_low` to `reward_high` is
      cut.
    - `prompts_per_step` prompts with `samples_per_prompt` samples make one round; `batch` samples one
      optimiser step; `micro_batch` and `rollout_micro_batch` samples pass a GPU at once. `episodes` go over
      all prompts; train.epochs over the samples of one round.
    - `gap`: correction of the difference between vLLM's log-probabilities and the trainer's.
    - `stage_folder`: where data, weights and states lie, the same path on every node; `python`: the
      interpreter there, in full, as a job starts with the head's PATH. On "cpu" relative ones start at the
      checkout. A training over `timeout_s` is ended.
    - `examined` conversations of the parent are scored by parent and candidate, where the stage runs: the
      evidence on divergence and entropy, whatever OpenRLHF logs.
    - `device` "cpu": the environment of `make test-openrlhf`, for trials on a machine without a GPU.
    """

    places = frozenset({"device", "stage_folder", "python", "head", "timeout_s", "server", "reward_url"})

    nodes: Positive = 1
    gpus_per_node: Positive = 8
    layout: Layout = "colocated"
    engine_gpus: Positive | None = None
    critic_gpus: Positive | None = None
    tensor_parallel: Positive = 1
    engine_memory_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.6
    engine_eager: bool = False
    prefix_caching: bool = True
    sync_backend: Literal["nccl", "gloo"] = "nccl"
    queue_size: Positive = 1

    rollouts: Literal["committed", "online"] = "committed"
    reward: Literal["agent", "file", "http"] = "agent"
    reward_url: str | None = None
    reward_low: float = -100.0
    reward_high: float = 100.0

    prompts_per_step: Positive = 128
    samples_per_prompt: Positive = 1
    rollout_micro_batch: Positive = 4
    batch: Positive = 128
    micro_batch: Positive = 4
    episodes: Positive = 1

    kl_place: Literal["reward", "loss"] = "loss"
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    kl_true_gradient: bool = False
    dual_clip: Annotated[float, Field(gt=1.0)] | None = None
    gap: Literal["off", "token_clip", "token_mask", "sequence_mask"] = "token_clip"
    gap_low: NonNegative = 0.0
    gap_high: PositiveFloat = 2.0
    critic_learning_rate: PositiveFloat = 9e-6
    critic_frozen_steps: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["constant", "constant_with_warmup", "cosine_with_min_lr"] = "constant"
    warmup_share: Fraction = 0.0

    zero_stage: Annotated[int, Field(ge=0, le=3)] = 3
    param_dtype: Literal["bf16", "fp16"] = "bf16"
    attention: str = "flash_attention_2"
    packing: bool = True
    gradient_checkpointing: bool = True
    optimiser_offload: bool = False
    reference_offload: bool = False
    lora_rank: Annotated[int, Field(ge=0)] = 0  # 0: the whole policy is trained
    lora_alpha: Positive = 16
    lora_dropout: Fraction = 0.0
    lora_targets: tuple[str, ...] = ()  # none: every linear layer

    save_every: Positive = 50
    states_kept: Positive = 2
    deterministic: bool = False
    examined: Positive = 64
    device: Literal["gpu", "cpu"] = "gpu"
    timeout_s: PositiveFloat = 86_400
    stage_folder: Annotated[str, Field(pattern=r"^\S*[^/\s]$")] = "/mnt/itpo"
    python: Annotated[str, Field(pattern=r"^\S+$")] = "/opt/itpo/.venv/bin/python"
    head: str = "http://ray-head:8265"
    server: Server | None = None  # users and judges; None: they need none, or run elsewhere

    @model_validator(mode="after")
    def _fits_together(self) -> "OpenRlhf":
        fault = fault_of_section(self)
        if fault is not None:
            raise ValueError(fault)
        return self

    @property
    def all_gpus(self) -> int:
        """GPUs of the whole cluster."""
        return self.nodes * self.gpus_per_node

    @property
    def trainer_gpus(self) -> int:
        """GPUs per node on which the policy is trained."""
        if self.layout == "colocated":
            return self.gpus_per_node
        return self.gpus_per_node - (self.engine_gpus or 0) - (self.critic_gpus or 0)

    @property
    def generating_gpus(self) -> int:
        """GPUs per node on which engines run."""
        return self.gpus_per_node if self.layout == "colocated" else self.engine_gpus or 0

    @property
    def engines(self) -> int:
        """vLLM engines of the whole cluster."""
        return self.nodes * self.generating_gpus // self.tensor_parallel

    @property
    def actor_ranks(self) -> int:
        """Processes that train the policy, one a GPU."""
        return self.nodes * self.trainer_gpus


def way_in(openrlhf: OpenRlhf, credit: Credit) -> Way:
    """What trains: fresh replies under Q, the lake's conversations, or new ones held by our agent."""
    return "iterative_ppo" if credit.algorithm is Algorithm.ITERATIVE_PPO else openrlhf.rollouts


def has_critic_there(openrlhf: OpenRlhf, credit: Credit) -> bool:
    """Whether OpenRLHF trains a critic of its own; committed credit brings what our critic said."""
    return credit.needs_critic and way_in(openrlhf, credit) != "committed"


def fault_of_section(openrlhf: OpenRlhf) -> str | None:
    """Why the section's own keys cannot work together, with the remedy; None when they can."""
    faults = {
        **_faults_of_places(openrlhf),
        **_faults_of_shape(openrlhf),
        **_faults_of_batches(openrlhf),
        **_faults_of_step(openrlhf),
    }
    return next((text for text, is_wrong in faults.items() if is_wrong), None)


def fault_of_cluster(
    openrlhf: OpenRlhf | None,
    credit: Credit,
    *,
    train: Train,
    max_new_tokens: int,
    max_context_tokens: int,
    temperature: float,
) -> str | None:
    """Why OpenRLHF cannot do what the other sections say, with the remedy; None when it can, or need not."""
    if openrlhf is None:
        lacks = train.trainer == "openrlhf_ray"
        return 'train.trainer "openrlhf_ray" needs the section [openrlhf]: write one' if lacks else None
    faults = {
        **_faults_of_estimator(openrlhf, credit),
        **_faults_of_layout(openrlhf, credit),
        **_faults_of_train(openrlhf, train),
        f"sampling.max_new_tokens {max_new_tokens} leaves a prompt no room in model.max_context_tokens "
        f"{max_context_tokens}, and OpenRLHF cuts it off at the left: lower the first or raise the second": (
            max_new_tokens >= max_context_tokens
        ),
        "sampling.temperature 0 with [openrlhf], which learns from differences of samples: set it above 0": (
            temperature == 0
        ),
    }
    return next((text for text, is_wrong in faults.items() if is_wrong), None)


def _faults_of_shape(own: OpenRlhf) -> dict[str, bool]:
    shared, engine_gpus, critic_gpus = own.layout == "colocated", own.engine_gpus, own.critic_gpus
    return {
        f"openrlhf.engine_gpus {engine_gpus} and openrlhf.critic_gpus {critic_gpus} with openrlhf.layout "
        '"colocated", where all models share all GPUs: leave them out': shared
        and (engine_gpus is not None or critic_gpus is not None),
        f'openrlhf.layout "{own.layout}" needs openrlhf.engine_gpus: how many GPUs of a node generate': (
            not shared and engine_gpus is None
        ),
        f'openrlhf.critic_gpus {critic_gpus} with openrlhf.layout "async", where the critic shares the GPUs '
        "that train: leave it out": own.layout == "async" and critic_gpus is not None,
        f"openrlhf.engine_gpus {engine_gpus} and openrlhf.critic_gpus {critic_gpus} leave "
        f"{own.trainer_gpus} of "
        f"openrlhf.gpus_per_node {own.gpus_per_node} to train on: lower them": own.trainer_gpus < 1,
        f"openrlhf.tensor_parallel {own.tensor_parallel} does not divide the {own.generating_gpus} GPUs of a "
        "node that generate: choose a divisor": own.generating_gpus % own.tensor_parallel != 0,
        'openrlhf.reward "http" needs openrlhf.reward_url, http://host:port/path': own.reward == "http"
        and own.reward_url is None,
        f"openrlhf.reward_url {own.reward_url!r} is no http://host:port/path": own.reward_url is not None
        and not own.reward_url.startswith(("http://", "https://")),
        f"openrlhf.reward_low {own.reward_low} is not below openrlhf.reward_high {own.reward_high}": (
            own.reward_low >= own.reward_high
        ),
    }


def _faults_of_places(own: OpenRlhf) -> dict[str, bool]:
    named = {"stage_folder": own.stage_folder, "python": own.python}
    return {
        f'openrlhf.{name} "{path}" with openrlhf.device "gpu": write the path in full, as it is on '
        "every node": own.device == "gpu" and not path.startswith("/")
        for name, path in named.items()
    }


def _faults_of_batches(own: OpenRlhf) -> dict[str, bool]:
    samples, ranks = own.prompts_per_step * own.samples_per_prompt, max(own.actor_ranks, 1)
    a_pass = own.micro_batch * ranks
    return {
        f"a round has {samples} samples (openrlhf.prompts_per_step times openrlhf.samples_per_prompt), no "
        f"multiple of openrlhf.batch {own.batch}": samples % own.batch != 0,
        f"openrlhf.batch {own.batch} is no multiple of openrlhf.micro_batch {own.micro_batch} times "
        f"the {ranks} "
        "GPUs that train: change one": own.batch % a_pass != 0,
        f"{samples} samples in openrlhf.rollout_micro_batch {own.rollout_micro_batch} do not reach "
        f"the {ranks} "
        "GPUs that train: lower it": samples // own.rollout_micro_batch < ranks,
    }


def _faults_of_step(own: OpenRlhf) -> dict[str, bool]:
    in_loss = own.kl_place == "loss"
    return {
        'openrlhf.kl_estimator "k1" with openrlhf.kl_place "loss" never pulls: use "k2" or "k3", or set '
        "openrlhf.kl_true_gradient": in_loss and own.kl_estimator == "k1" and not own.kl_true_gradient,
        f'openrlhf.kl_estimator "{own.kl_estimator}" with openrlhf.kl_place "reward": a reward takes "k1"': (
            not in_loss and own.kl_estimator != "k1"
        ),
        'openrlhf.kl_true_gradient with openrlhf.kl_place "reward", which has no gradient: leave it out': (
            not in_loss and own.kl_true_gradient
        ),
        f"openrlhf.gap_low {own.gap_low} is not below openrlhf.gap_high {own.gap_high}": own.gap_low
        >= own.gap_high,
        f'openrlhf.attention "{own.attention}" with openrlhf.packing: OpenRLHF would take flash '
        "attention all "
        "the same; set openrlhf.packing to false": own.packing and "flash_attention" not in own.attention,
        f"openrlhf.lora_rank {own.lora_rank} with openrlhf.zero_stage 3: OpenRLHF then writes the "
        "adapter as a "
        "pickled file, which the lake refuses; use stage 2": own.lora_rank > 0 and own.zero_stage == 3,
        f"openrlhf.lora_targets {list(own.lora_targets)} with openrlhf.lora_rank 0: set the rank, "
        "or leave them "
        "out": own.lora_rank == 0 and own.lora_targets != (),
        f'openrlhf.warmup_share {own.warmup_share} with openrlhf.schedule "constant": use '
        '"constant_with_warmup"': own.schedule == "constant" and own.warmup_share > 0,
    }


def _faults_of_estimator(own: OpenRlhf, credit: Credit) -> dict[str, bool]:
    way, n = way_in(own, credit), own.samples_per_prompt
    if way == "committed":
        return _faults_of_committed(own)
    if way == "online":
        return _faults_of_online(own, credit)
    estimator = ESTIMATORS.get((credit.advantage, credit.std))
    return {
        f'credit.profile "{credit.profile}" with [openrlhf], which has its own conventions for advantages: '
        'set it to "openrlhf"': credit.profile != "openrlhf",
        f'credit.advantage "{credit.advantage}" with credit.std "{credit.std}" has no counterpart in '
        "OpenRLHF: leave credit.std out": estimator is None,
        f'openrlhf.samples_per_prompt {n} with credit.advantage "{credit.advantage}", which compares samples '
        "of one prompt: use 2 or more": estimator in COMPARES_SIBLINGS and n < 2,
        f'credit.gamma {credit.gamma} with credit.advantage "{credit.advantage}", which OpenRLHF never '
        "discounts: set it to 1": credit.gamma != 1 and estimator not in OF_TURNS,
    }


def _faults_of_online(own: OpenRlhf, credit: Credit) -> dict[str, bool]:
    known = CRITIC_ONLINE if credit.needs_critic else CREDIT_ONLINE
    names = ", ".join(sorted(each.value for each in known))
    compares = credit.advantage in ("grpo", "rloo", "reinforce_pp_baseline")
    return {
        f'openrlhf.rollouts "online" with credit.algorithm "{credit.algorithm.value}" and credit.advantage '
        f'"{credit.advantage}", whose turns have no reward there: choose one of {names}, or "committed" '
        "rollouts": credit.algorithm not in known,
        f'openrlhf.samples_per_prompt {own.samples_per_prompt} with credit.advantage "{credit.advantage}", '
        "which compares samples of one prompt: use 2 or more": compares and own.samples_per_prompt < 2,
        'openrlhf.kl_place "reward" with openrlhf.rollouts "online" and given advantages: use "loss", or '
        'credit.advantage "ppo"': own.kl_place == "reward" and not credit.needs_critic,
        f'credit.score_scale "{credit.score_scale}" with openrlhf.rollouts "online", which knows no rounds '
        "before its own: leave it out": credit.score_scale == "running_std",
    }


def _faults_of_committed(own: OpenRlhf) -> dict[str, bool]:
    return {
        f'openrlhf.samples_per_prompt {own.samples_per_prompt} with openrlhf.rollouts "committed", where a '
        "sample is a conversation of the lake: leave it out": own.samples_per_prompt != 1,
        'openrlhf.kl_place "reward" with openrlhf.rollouts "committed", whose advantages are made already: '
        'use "loss"': own.kl_place == "reward",
    }


def _faults_of_layout(own: OpenRlhf, credit: Credit) -> dict[str, bool]:
    way, has_critic = way_in(own, credit), has_critic_there(own, credit)
    return {
        f'openrlhf.reward "{own.reward}" with credit.algorithm "{credit.algorithm.value}": only '
        "iterative_ppo asks a reward for single replies; leave it out": own.reward != "agent"
        and way != "iterative_ppo",
        f'openrlhf.layout "async" with openrlhf.rollouts "{own.rollouts}": our credit is put in place of the '
        'trainer that takes turns with the engines; use "split"': own.layout == "async"
        and way != "iterative_ppo",
        'openrlhf.layout "async" with openrlhf.reward "agent", which is put in place of the trainer that '
        'takes turns with the engines; use "split", or "file" or "http"': own.layout == "async"
        and way == "iterative_ppo"
        and own.reward == "agent",
        f"openrlhf.critic_gpus {own.critic_gpus}, but OpenRLHF trains no critic here: leave it out": (
            own.critic_gpus is not None and not has_critic
        ),
        'openrlhf.layout "split" with credit.advantage "ppo": the critic needs GPUs of its own; set '
        "openrlhf.critic_gpus": own.layout == "split" and has_critic and own.critic_gpus is None,
        f"openrlhf.critic_frozen_steps {own.critic_frozen_steps}, but OpenRLHF trains no critic here: leave "
        "it out": own.critic_frozen_steps > 0 and not has_critic,
    }


def _faults_of_train(own: OpenRlhf, train: Train) -> dict[str, bool]:
    return {
        f'train.policy_loss "{train.policy_loss}" with [openrlhf]: OpenRLHF knows "ppo" and "gspo"': (
            train.policy_loss not in ("ppo", "gspo")
        ),
        f'train.aggregation "{train.aggregation}" with [openrlhf]: OpenRLHF divides by no constant '
        "length; use "
        '"profile"': train.aggregation != "profile",
        f'train.sequence "{train.sequence}" with [openrlhf]: OpenRLHF takes whole conversations for '
        "sequences; "
        "leave it out": train.sequence != "conversation",
        f'train.numbers "{train.numbers}" with [openrlhf]: write the numbers out': train.numbers
        != "configured",
        "train.lora with [openrlhf], which has adapters of its own: set openrlhf.lora_rank": (
            train.lora is not None
        ),
        f"train.dynamic_filter with openrlhf.samples_per_prompt {own.samples_per_prompt}: one sample never "
        'varies; hold conversations "online", two or more of a prompt, or leave it out': train.dynamic_filter
        and own.samples_per_prompt < 2,
    }
