"""ITPO's step by OpenRLHF online: new conversations of our agent with our users, credited turn by turn."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from itpo_core.identifiers import derive_seed
from itpo_core.trainers.base import TrainingResult
from itpo_core.trainers.openrlhf_openings import HELD_VARIABLE, recorded
from storage.commits import Commit
from tasks import build, collect
from tasks.config_credit import NEEDS_SCORES
from tasks.context import Context
from tasks.credit_choice import method_of, usable_algorithm
from tasks.fit_reward import reference_iteration
from tasks.openrlhf import cluster_of, credit_of
from tasks.openrlhf_histories import own_address
from tasks.openrlhf_training import Asked, place_of, run_on_prompts
from tasks.training import Job, spoken_turns

HELD_FILE = "held_conversations.jsonl"
Variables = Mapping[str, str]


def sources(context: Context) -> dict[str, Commit]:
    """The reward model that scores turns, with its reference; neither where the outcome says all."""
    credit = context.config.credit
    if credit.algorithm in NEEDS_SCORES:
        reference = context.read("policy", reference_iteration(context))
        return {"reward": context.read("reward"), "reference": reference}
    return {}


def train(context: Context, job: Job) -> TrainingResult:
    """Write the candidate of new conversations, whose openings are drawn for this iteration.

    The conversations are kept beside its weights: what it learnt from is in no commit of rollouts.
    """
    spoken = spoken_turns(context, job.sources["credit"])
    folder = Path(place_of(context, job).folder) / "held"
    with turn_values(context, job) as variables:
        known = {**variables, **credited_by(context, job), HELD_VARIABLE: str(folder)}
        asked = Asked(openings(context, job), credit_of(context.config), known)
        result = run_on_prompts(context, job, asked=asked, spoken=spoken)
    lines = recorded(folder)
    (job.out_folder / HELD_FILE).write_text("".join(lines), encoding="utf-8")
    return replace(result, summary={**result.summary, "conversations_held": float(len(lines))})


def openings(context: Context, job: Job) -> Sequence[Mapping[str, str]]:
    """One prompt per scenario of this iteration, each with draws of its own for the users."""
    from itpo_core.tiny_policy import load_chat_format
    from itpo_core.trainers.openrlhf_openings import OpeningLabel

    config = context.config
    never = load_chat_format(context.policy_folder(job.parent)).suppressed_ids
    scenarios = collect.shard_scenarios(context, build.domain(config))
    labels = [
        OpeningLabel(
            domain=config.domain.name,
            preset=config.domain.preset,
            scenario=scenario,
            seed=derive_seed(config.seed, "openrlhf online", context.iteration, place),
            turn_tokens=config.sampling.max_new_tokens,
            suppressed_ids=never,
        )
        for place, scenario in enumerate(scenarios)
    ]
    return [{"input": one.scenario.scenario_id, "label": one.label()} for one in labels]


def credited_by(context: Context, job: Job) -> Variables:
    """How turns are credited, in words of the environment; none where OpenRLHF's critic does it."""
    from itpo_core.trainers.openrlhf_online import OnlineCredit

    if credit_of(context.config) != "online":
        return {}
    reward = job.sources.get("reward")
    algorithm = (
        context.config.credit.algorithm if reward is None else usable_algorithm(context, reward=reward)
    )
    own = OnlineCredit(
        method_of(context.config.credit, algorithm=algorithm),
        token_cost=context.config.curate.token_cost,
        samples=cluster_of(context.config).samples_per_prompt,
    )
    return {"ITPO_ONLINE_CREDIT": own.text()}


@contextmanager
def turn_values(context: Context, job: Job) -> Generator[Variables]:
    """Where the score of a turn is asked for as long as the block lasts, if anywhere."""
    if "reward" not in job.sources:
        yield {}
        return
    with served_prm(context, job) as url:
        yield {"ITPO_REWARD_URL": url, "ITPO_REWARD_KIND": "prm"}


@contextmanager
def served_prm(context: Context, job: Job) -> Generator[str]:
    """The address of a service of this iteration's reward model, ours for as long as the block lasts."""
    from itpo_core.rewards.prm_scorer import PrmScorer
    from itpo_core.rewards.service import RewardService

    reward = job.sources["reward"]
    scorer = PrmScorer.load(
        context.artifact_folder(reward),
        context.artifact_folder(job.sources["reference"]),
        beta=context.config.reward.beta,
        max_tokens=context.config.model.max_context_tokens,
    )
    address = own_address(cluster_of(context.config).nodes)
    with RewardService(scorer, reward.digest, host=address) as service:
        yield service.url
