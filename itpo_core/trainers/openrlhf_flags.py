"""Every flag that we give OpenRLHF, as one typed table, and the command line made of it.

The names are those of openrlhf 0.11.2 (`openrlhf.cli.train_ppo_ray`), which changed them between patch
releases: hence one table, one exact version, and a test that asks OpenRLHF's own parser.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

OPENRLHF_VERSION = "0.11.2"
MODULE = "openrlhf.cli.train_ppo_ray"
ENTRY = "itpo_core.trainers.openrlhf_ray"  # the same command, with our credit put in its place


class OpenRlhfVersionError(RuntimeError):
    """The OpenRLHF at hand is not the one whose flags are known; the message names the remedy."""


def _flag(name: str, default: Any) -> Any:  # Any: the default of whatever type the field has
    return field(default=default, metadata={"flag": name})


def _required(name: str) -> Any:  # Any: a field without default
    return field(metadata={"flag": name})


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRlhfFlags:
    """What we set; everything else stays at OpenRLHF's default. None leaves a flag out, False too.

    Paths are as every node of the cluster sees them. Counts of GPUs are per node. Sizes of batches are in
    samples (one sample: one conversation, or one reply), lengths in tokens, weights in nats where they weigh
    a divergence. `reward_url` is a Python file or an http address, `agent_file` a Python file, never both.
    """

    # Models: the start of the policy is also the KL's anchor; a critic starts from its own folder.
    policy: str = _required("--actor.model_name_or_path")
    critic: str | None = _flag("--critic.model_name_or_path", None)
    reward_url: str | None = _flag("--reward.remote_url", None)
    agent_file: str | None = _flag("--train.agent_func_path", None)
    reward_clip: tuple[float, float] = _flag("--reward.clip_range", (-100.0, 100.0))

    # Prompts
    prompts: str = _required("--data.prompt_dataset")
    input_key: str = _flag("--data.input_key", "input")
    label_key: str | None = _flag("--data.label_key", "label")
    chat_template: bool = _flag("--data.apply_chat_template", True)
    max_tokens: int = _flag("--data.max_len", 4096)

    # Cluster shape; a group of models on the same GPUs is "colocated".
    actor_nodes: int = _flag("--actor.num_nodes", 1)
    actor_gpus: int = _flag("--actor.num_gpus_per_node", 8)
    reference_nodes: int = _flag("--ref.num_nodes", 1)
    reference_gpus: int = _flag("--ref.num_gpus_per_node", 8)
    critic_nodes: int | None = _flag("--critic.num_nodes", None)
    critic_gpus: int | None = _flag("--critic.num_gpus_per_node", None)
    colocate_all: bool = _flag("--train.colocate_all", False)
    colocate_actor_reference: bool = _flag("--train.colocate_actor_ref", False)
    asynchronous: bool = _flag("--train.async_enable", False)
    queue_size: int | None = _flag("--train.async_queue_size", None)

    # Generation
    engines: int = _flag("--vllm.num_engines", 8)
    engine_tensor_parallel: int = _flag("--vllm.tensor_parallel_size", 1)
    engine_memory_share: float = _flag("--vllm.gpu_memory_utilization", 0.6)
    engine_sleep: bool = _flag("--vllm.enable_sleep", False)
    engine_eager: bool = _flag("--vllm.enforce_eager", False)
    prefix_caching: bool = _flag("--vllm.enable_prefix_caching", False)
    sync_backend: str = _flag("--vllm.sync_backend", "nccl")
    prompts_per_step: int = _flag("--rollout.batch_size", 128)
    samples_per_prompt: int = _flag("--rollout.n_samples_per_prompt", 1)
    rollout_micro_batch: int = _flag("--rollout.micro_batch_size", 4)
    max_new_tokens: int = _flag("--rollout.max_new_tokens", 512)
    temperature: float = _flag("--rollout.temperature", 1.0)
    top_p: float = _flag("--rollout.top_p", 1.0)

    # Advantages and the KL
    estimator: Literal["gae", "reinforce", "rloo", "reinforce_baseline", "group_norm", "dr_grpo"] = _flag(
        "--algo.advantage.estimator", "group_norm"
    )
    gamma: float = _flag("--algo.advantage.gamma", 1.0)
    gae_lambda: float = _flag("--algo.advantage.lambd", 1.0)
    kl_weight: float = _flag("--algo.kl.init_coef", 0.01)
    kl_target: float | None = _flag("--algo.kl.target", None)
    kl_horizon: int | None = _flag("--algo.kl.horizon", None)
    kl_in_loss: bool = _flag("--algo.kl.use_loss", False)
    kl_estimator: Literal["k1", "k2", "k3"] = _flag("--algo.kl.estimator", "k1")
    kl_true_gradient: bool = _flag("--algo.kl.unbiased_gradient", False)
    dynamic_filter: bool = _flag("--algo.dynamic_filtering_enable", False)
    gap_level: Literal["off", "token", "seq"] = _flag("--algo.advantage.is_correction_level", "off")
    gap_mode: Literal["mask", "clip"] | None = _flag("--algo.advantage.is_correction_mode", None)
    gap_bounds: tuple[float, float] | None = _flag("--algo.advantage.is_correction_threshold", None)

    # The policy step
    policy_loss: Literal["ppo", "gspo"] = _flag("--actor.policy_loss_type", "ppo")
    clip: tuple[float, float] = _flag("--actor.eps_clip_low_high", (0.2, 0.2))
    dual_clip: float | None = _flag("--actor.dual_clip", None)
    entropy_weight: float | None = _flag("--actor.entropy_coef", None)
    learning_rate: float = _flag("--actor.adam.lr", 1e-6)
    critic_learning_rate: float | None = _flag("--critic.adam.lr", None)
    schedule: str = _flag("--actor.lr_scheduler", "constant")
    warmup_share: float = _flag("--actor.lr_warmup_ratio", 0.0)
    critic_schedule: str | None = _flag("--critic.lr_scheduler", None)
    critic_warmup_share: float | None = _flag("--critic.lr_warmup_ratio", None)
    max_gradient_norm: float = _flag("--actor.max_norm", 1.0)
    value_clip: float | None = _flag("--critic.value_clip", None)
    frozen_steps: int | None = _flag("--critic.freezing_steps", None)
    batch: int = _flag("--train.batch_size", 128)
    micro_batch: int = _flag("--train.micro_batch_size", 4)
    epochs: int = _flag("--train.max_epochs", 1)
    episodes: int = _flag("--train.num_episodes", 1)
    seed: int = _flag("--train.seed", 0)
    deterministic: bool = _flag("--train.full_determinism_enable", False)

    # Memory and adapters; adapters on all linear layers are OpenRLHF's default and must not be named.
    zero_stage: int = _flag("--ds.zero_stage", 3)
    param_dtype: Literal["bf16", "fp16"] = _flag("--ds.param_dtype", "bf16")
    attention: str = _flag("--ds.attn_implementation", "flash_attention_2")
    packing: bool = _flag("--ds.packing_samples", True)
    trainer_sleep: bool = _flag("--ds.enable_sleep", False)
    optimiser_offload: bool = _flag("--ds.adam_offload", False)
    reference_offload: bool = _flag("--ref.offload", False)
    gradient_checkpointing: bool = _flag("--actor.gradient_checkpointing_enable", True)
    lora_rank: int | None = _flag("--ds.lora.rank", None)
    lora_alpha: int | None = _flag("--ds.lora.alpha", None)
    lora_dropout: float | None = _flag("--ds.lora.dropout", None)
    lora_targets: tuple[str, ...] | None = _flag("--ds.lora.target_modules", None)

    # What is kept. `resume` reads `state_folder` if there is one, so every candidate needs its own.
    out_folder: str = _required("--ckpt.output_dir")
    state_folder: str = _required("--ckpt.path")
    resume: bool = _flag("--ckpt.load_enable", True)
    save_every: int = _flag("--ckpt.save_steps", 50)
    states_kept: int = _flag("--ckpt.max_num", 2)
    save_critic: bool = _flag("--critic.save_value_network", False)
    log_folder: str | None = _flag("--logger.tensorboard_dir", None)
    log_every: int = _flag("--logger.logging_steps", 1)


@dataclass(frozen=True, slots=True)
class FlagValue:
    """One flag with its values as the command line holds them; none for a switch."""

    name: str
    values: tuple[str, ...]


def flag_values(flags: OpenRlhfFlags) -> tuple[FlagValue, ...]:
    """The flags that are set, in the order of the table."""
    return tuple(_set_flags(flags))


def argv(flags: OpenRlhfFlags) -> list[str]:
    """The arguments of `openrlhf.cli.train_ppo_ray`, which `ENTRY` takes too."""
    return [word for one in flag_values(flags) for word in (one.name, *one.values)]


def expected_steps(flags: OpenRlhfFlags, *, prompts: int) -> int:
    """Optimiser steps of a whole training over so many prompts; what OpenRLHF itself counts.

    Raises ValueError when it is none: OpenRLHF would end well and leave the policy as it was.
    """
    a_pass = prompts * flags.samples_per_prompt // flags.batch
    if a_pass == 0:
        raise ValueError(
            f"{prompts} prompts of {flags.samples_per_prompt} samples do not fill one batch of "
            f"{flags.batch}: "
            "OpenRLHF would take no step; give it more prompts or a smaller batch"
        )
    return a_pass * flags.episodes * flags.epochs


def check_reward_range(flags: OpenRlhfFlags, *, lowest: float, highest: float) -> None:
    """ValueError unless the reward's clip covers what will be given: OpenRLHF clips in silence."""
    low, high = flags.reward_clip
    if not low <= lowest <= highest <= high:
        raise ValueError(
            f"rewards from {lowest} to {highest} do not lie in the clip range {low} to {high}: widen it, or "
            "what lies outside is cut off"
        )


def check_version(found: str | None) -> None:
    """OpenRlhfVersionError unless `found` (None: not installed) is the version whose flags stand here."""
    remedy = f"install openrlhf=={OPENRLHF_VERSION}, the pin of the extra `gpu`"
    if found is None:
        raise OpenRlhfVersionError(f"OpenRLHF is not installed: {remedy}")
    if found != OPENRLHF_VERSION:
        raise OpenRlhfVersionError(
            f"OpenRLHF {found} is installed, but its flags change even between patch releases and only those "
            f"of {OPENRLHF_VERSION} are known: {remedy}"
        )


def _set_flags(flags: OpenRlhfFlags) -> Iterator[FlagValue]:
    values = asdict(flags)
    for one in fields(flags):
        value = values[one.name]
        if value is None or value is False:
            continue
        yield FlagValue(one.metadata["flag"], _words(value))


def _words(value: object) -> tuple[str, ...]:
    if value is True:
        return ()
    if isinstance(value, tuple):
        return tuple(map(str, value))
    return (str(value),)
