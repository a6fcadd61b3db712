"""From the configuration to OpenRLHF's flags for one iteration, and where its files lie on the cluster."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from itpo_core.identifiers import derive_seed
from itpo_core.policy_losses import decayed
from itpo_core.trainers.openrlhf_flags import OpenRlhfFlags
from itpo_core.trainers.openrlhf_job import Credit
from storage.paths import repository_root
from tasks.config import Config, ConfigError
from tasks.config_openrlhf import ESTIMATORS, OpenRlhf, Way, has_critic_there, way_in

MISSING = "the configuration has no section [openrlhf]: write one, or start from configs/cluster_8gpu.toml"
# name of the correction -> OpenRLHF's level and mode
GAPS: Mapping[str, tuple[Literal["off", "token", "seq"], Literal["mask", "clip"] | None]] = MappingProxyType(
    {
        "off": ("off", None),
        "token_clip": ("token", "clip"),
        "token_mask": ("token", "mask"),
        "sequence_mask": ("seq", "mask"),
    }
)


@dataclass(frozen=True, slots=True)
class Staged:
    """Paths of one candidate's training, the same on every node.

    The folder is named by experiment, iteration, the digest of the configuration and, in a run, that of the
    commits it is made from, so that a state is only ever resumed by the training that left it.
    """

    folder: str

    @property
    def policy(self) -> str:
        """The parent's weights."""
        return f"{self.folder}/policy"

    @property
    def prompts(self) -> str:
        """What is asked: visited histories, or openings of conversations."""
        return f"{self.folder}/prompts.parquet"

    @property
    def committed(self) -> str:
        """The rows of the committed batch beside it."""
        return f"{self.folder}/batch/prompts.jsonl"

    @property
    def reward_file(self) -> str:
        """The Python file that values replies by Q."""
        return f"{self.folder}/reward.py"

    @property
    def agent_file(self) -> str:
        """The Python file that runs whole conversations."""
        return f"{self.folder}/agent.py"

    @property
    def candidate(self) -> str:
        """Where the trained weights are written."""
        return f"{self.folder}/made"

    @property
    def state(self) -> str:
        """Optimiser states; this training resumes from them, and no other."""
        return f"{self.folder}/state"

    @property
    def logs(self) -> str:
        """Figures of every step, for TensorBoard."""
        return f"{self.folder}/tensorboard"


@dataclass(frozen=True, slots=True)
class StepNumbers:
    """The numbers of the policy step at one iteration; the weight of the divergence in nats per token."""

    learning_rate: float
    clip: tuple[float, float]
    kl_weight: float
    entropy_weight: float
    max_gradient_norm: float
    epochs: int
    episodes: int


def cluster_of(config: Config) -> OpenRlhf:
    """The section, or ConfigError that says how to get one."""
    if config.openrlhf is None:
        raise ConfigError(MISSING)
    return config.openrlhf


def staged(config: Config, iteration: int, *, made_from: str = "") -> Staged:
    """Where the files of this iteration's training lie on the cluster; `made_from` names what it reads."""
    name = "-".join(part for part in (f"{iteration:04d}", config.digest[:12], made_from) if part)
    root = located(cluster_of(config), cluster_of(config).stage_folder)
    return Staged(f"{root}/{config.experiment}/{name}")


def credit_of(config: Config) -> Credit:
    """What is put in place inside OpenRLHF."""
    cluster = cluster_of(config)
    way = way_in(cluster, config.credit)
    if way == "iterative_ppo":
        return "replies" if cluster.reward == "agent" else "stock"
    if way == "online":
        # With a critic of OpenRLHF's own the rewards of turns go through its GAE.
        return "turns" if config.credit.needs_critic else "online"
    return "committed"


def located(cluster: OpenRlhf, path: str) -> str:
    """A path of the section in full: on CPUs relative ones start at the checkout."""
    return str(repository_root() / path) if cluster.device == "cpu" else path


def flags_of(config: Config, iteration: int, *, place: Staged | None = None) -> OpenRlhfFlags:
    """Everything that OpenRLHF is told. Raises ConfigError without a cluster."""
    cluster, place = cluster_of(config), place or staged(config, iteration)
    flags = OpenRlhfFlags(
        policy=place.policy,
        prompts=place.prompts,
        out_folder=place.candidate,
        state_folder=place.state,
        log_folder=place.logs,
        save_every=cluster.save_every,
        states_kept=cluster.states_kept,
        seed=derive_seed(config.seed, "train", iteration) % 2**31,
        deterministic=cluster.deterministic,
    )
    flags = _with_way_in(flags, config, cluster=cluster, place=place)
    flags = _with_shape(flags, cluster)
    flags = _with_engines(flags, config, cluster=cluster)
    flags = _with_advantages(flags, config, cluster=cluster)
    flags = _with_step(flags, config, cluster=cluster, iteration=iteration)
    return _with_memory(_with_critic(flags, config, cluster=cluster), cluster)


def step_numbers(config: Config, iteration: int) -> StepNumbers:
    """Of [improve] for iterative_ppo, of [train] otherwise; decays start with iteration 1."""
    way = way_in(cluster_of(config), config.credit)
    return NUMBERS[way](config, max(0, iteration - 1))


def _of_improve(config: Config, age: int) -> StepNumbers:
    own = config.improve
    return StepNumbers(
        learning_rate=own.learning_rate * own.learning_rate_decay**age,
        clip=(own.clip_low, own.clip_high),
        kl_weight=own.kl_weight * own.kl_growth**age,
        entropy_weight=0.0,
        max_gradient_norm=own.max_gradient_norm,
        epochs=1,
        episodes=own.passes,
    )


def _of_train(config: Config, age: int) -> StepNumbers:
    own = config.train
    low, high = (
        decayed(value, own.clip_floor, decay=own.decay, iteration=age)
        for value in (own.clip_low, own.clip_high)
    )
    return StepNumbers(
        learning_rate=own.learning_rate * own.decay**age,
        clip=(low, high),
        kl_weight=own.kl_weight,
        entropy_weight=own.entropy_weight,
        max_gradient_norm=own.max_gradient_norm,
        epochs=own.epochs,
        episodes=cluster_of(config).episodes,
    )


NUMBERS: Mapping[Way, Callable[[Config, int], StepNumbers]] = MappingProxyType(
    {"iterative_ppo": _of_improve, "committed": _of_train, "online": _of_train}
)


def _with_way_in(flags: OpenRlhfFlags, config: Config, *, cluster: OpenRlhf, place: Staged) -> OpenRlhfFlags:
    flags = replace(flags, reward_clip=(cluster.reward_low, cluster.reward_high))
    way = way_in(cluster, config.credit)
    if way == "online":
        return replace(flags, agent_file=place.agent_file, chat_template=False)
    if way == "committed":
        # Nothing is asked of the agent, but without one or a reward OpenRLHF starts a reward model.
        return replace(flags, prompts=place.committed, agent_file=place.agent_file, chat_template=False)
    if cluster.reward == "agent":
        return replace(flags, agent_file=place.agent_file, chat_template=False)
    asked = cluster.reward_url if cluster.reward == "http" else place.reward_file
    return replace(flags, reward_url=asked, chat_template=False)


def _with_shape(flags: OpenRlhfFlags, cluster: OpenRlhf) -> OpenRlhfFlags:
    return replace(
        flags,
        actor_nodes=cluster.nodes,
        actor_gpus=cluster.trainer_gpus,
        reference_nodes=cluster.nodes,
        reference_gpus=cluster.trainer_gpus,
        colocate_all=cluster.layout != "split",
        colocate_actor_reference=cluster.layout == "split",
        asynchronous=cluster.layout == "async",
        queue_size=cluster.queue_size if cluster.layout == "async" else None,
        engine_sleep=cluster.layout == "colocated",
        trainer_sleep=cluster.layout != "split",
    )


def _with_engines(flags: OpenRlhfFlags, config: Config, *, cluster: OpenRlhf) -> OpenRlhfFlags:
    # Nothing is generated for committed rollouts; OpenRLHF packs samples only where it has engines.
    is_silent = way_in(cluster, config.credit) == "committed" and not cluster.packing
    return replace(
        flags,
        engines=0 if is_silent else cluster.engines,
        engine_tensor_parallel=cluster.tensor_parallel,
        engine_memory_share=cluster.engine_memory_share,
        engine_eager=cluster.engine_eager,
        prefix_caching=cluster.prefix_caching,
        sync_backend=cluster.sync_backend,
        prompts_per_step=cluster.prompts_per_step,
        samples_per_prompt=cluster.samples_per_prompt,
        rollout_micro_batch=cluster.rollout_micro_batch,
        max_tokens=config.model.max_context_tokens,
        max_new_tokens=config.sampling.max_new_tokens,
        temperature=config.sampling.temperature,
        top_p=config.sampling.top_p,
    )


def _with_advantages(flags: OpenRlhfFlags, config: Config, *, cluster: OpenRlhf) -> OpenRlhfFlags:
    credit, train = config.credit, config.train
    level, mode = GAPS[cluster.gap]
    # Given advantages take the place of what any estimator says; this one asks for nothing.
    is_given = credit_of(config) in ("committed", "online")
    return replace(
        flags,
        estimator="reinforce" if is_given else ESTIMATORS[credit.advantage, credit.std],
        gamma=1.0 if is_given else credit.gamma,
        gae_lambda=1.0 if is_given else credit.gae_lambda,
        kl_target=train.target_kl,
        kl_horizon=None if train.target_kl is None else train.kl_horizon,
        kl_in_loss=cluster.kl_place == "loss",
        kl_estimator=cluster.kl_estimator,
        kl_true_gradient=cluster.kl_true_gradient,
        dynamic_filter=train.dynamic_filter,
        gap_level=level,
        gap_mode=mode,
        gap_bounds=None if mode is None else (cluster.gap_low, cluster.gap_high),
    )


def _with_step(flags: OpenRlhfFlags, config: Config, *, cluster: OpenRlhf, iteration: int) -> OpenRlhfFlags:
    numbers = step_numbers(config, iteration)
    return replace(
        flags,
        policy_loss="gspo" if config.train.policy_loss == "gspo" else "ppo",
        clip=numbers.clip,
        dual_clip=cluster.dual_clip,
        kl_weight=numbers.kl_weight,
        entropy_weight=numbers.entropy_weight or None,
        learning_rate=numbers.learning_rate,
        schedule=cluster.schedule,
        warmup_share=cluster.warmup_share,
        max_gradient_norm=numbers.max_gradient_norm,
        batch=cluster.batch,
        micro_batch=cluster.micro_batch,
        epochs=numbers.epochs,
        episodes=numbers.episodes,
    )


def _with_critic(flags: OpenRlhfFlags, config: Config, *, cluster: OpenRlhf) -> OpenRlhfFlags:
    if not has_critic_there(cluster, config.credit):
        return flags
    return replace(
        flags,
        critic=flags.policy,
        critic_nodes=cluster.nodes,
        critic_gpus=cluster.critic_gpus or cluster.trainer_gpus,
        critic_learning_rate=cluster.critic_learning_rate,
        critic_schedule=cluster.schedule,
        critic_warmup_share=cluster.warmup_share,
        value_clip=0.5,
        # OpenRLHF trains the policy from the step after this one on, and counts from 0.
        frozen_steps=cluster.critic_frozen_steps - 1 if cluster.critic_frozen_steps else None,
    )


def _with_memory(flags: OpenRlhfFlags, cluster: OpenRlhf) -> OpenRlhfFlags:
    adapters = cluster.lora_rank > 0
    return replace(
        flags,
        zero_stage=cluster.zero_stage,
        param_dtype=cluster.param_dtype,
        attention=cluster.attention,
        packing=cluster.packing,
        gradient_checkpointing=cluster.gradient_checkpointing,
        optimiser_offload=cluster.optimiser_offload,
        reference_offload=cluster.reference_offload,
        lora_rank=cluster.lora_rank if adapters else None,
        lora_alpha=cluster.lora_alpha if adapters else None,
        lora_dropout=cluster.lora_dropout if adapters else None,
        lora_targets=cluster.lora_targets or None,
    )
