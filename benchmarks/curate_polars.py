"""Curation and credit once more, in polars: what the SQL is timed against and compared with row by row."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

ID, NUMBER, GROUP, TURN = "conversation_id", "conversation_number", "group_number", "turn_index"


@dataclass(frozen=True, slots=True)
class Settings:
    """The parameters of sql/curated.sql, sql/turn_credits.sql and sql/advantages_grpo.sql."""

    policy_version: str
    token_cost: float
    split_salt: str
    heldout_permille: int
    min_group: int
    temperature: float
    share: float
    std_floor: float


def credits(paths: Mapping[str, list[Path]], settings: Settings) -> pl.DataFrame:
    """From Parquet files to the columns of `credits`, in the order of the SQL."""
    tables = {name: pl.scan_parquet(files) for name, files in paths.items()}
    kept = curated(tables["conversations"], tables["turns"], settings=settings)
    kept = kept.filter(pl.col("drop_reason").is_null()).sort("group_id", ID)
    kept = kept.with_row_index(NUMBER).with_columns(pl.col("group_id").rle_id().alias(GROUP))
    kept = kept.with_columns(_whole_advantage(settings))
    spoken = (
        kept.lazy()
        .join(tables["turns"].select(ID, TURN, "turn_kind", "response_tokens"), on=ID)
        .join(tables["turn_scores"].select(ID, TURN, "score"), on=[ID, TURN], how="left")
        .join(tables["turn_inputs"], on=[ID, TURN], how="left")
        .sort(NUMBER, TURN)
        .collect()
    )
    return _credited(spoken, settings)


def curated(conversations: pl.LazyFrame, turns: pl.LazyFrame, *, settings: Settings) -> pl.DataFrame:
    """One row per conversation with the first reason that holds, the fold and the reward."""
    version = pl.col("policy_version") == settings.policy_version
    facts = turns.group_by(ID).agg(
        pl.len().alias("turns"),
        pl.col("response_tokens").min().alias("fewest"),
        pl.col("response_tokens").max().alias("most"),
        pl.col("logprobs").list.sum().is_finite().all().alias("is_finite"),
        version.all().alias("is_of_policy"),
    )
    reason = (
        pl.when(pl.col("status") == "failed").then(pl.lit("failed"))
        .when(pl.col("outcome").is_null()).then(pl.lit("unscored"))
        .when((pl.col("n_turns") == 0) | pl.col("turns").is_null()).then(pl.lit("no_turns"))
        .when((pl.col("fewest") == 0) & (pl.col("most") > 0)).then(pl.lit("empty_turn"))
        .when(~pl.col("outcome").is_finite() | ~pl.col("is_finite")).then(pl.lit("nonfinite"))
        .when(~version | ~pl.col("is_of_policy")).then(pl.lit("mixed_policy"))
        .when(pl.col("stop_reason") == "context_full").then(pl.lit("context_full"))
    )  # fmt: skip
    judged = conversations.join(facts, on=ID, how="left").with_columns(reason.alias("drop_reason")).collect()
    good = pl.col("drop_reason").is_null()
    first = pl.col(ID).filter(good).min().over("group_id", "transcript_sha256")
    judged = judged.with_columns(
        pl.when(good & (pl.col(ID) != first))
        .then(pl.lit("duplicate"))
        .otherwise("drop_reason")
        .alias("drop_reason")
    )
    eligible = good.sum().over("group_id")
    judged = judged.with_columns(
        pl.when(good & (eligible < settings.min_group))
        .then(pl.lit("small_group"))
        .otherwise("drop_reason")
        .alias("drop_reason"),
        (pl.col("outcome") - settings.token_cost * pl.col("assistant_tokens")).alias("reward"),
    )
    return judged.join(_folds(judged, settings), on="group_id").sort("group_id", ID)


def _folds(judged: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    groups = judged.get_column("group_id").unique()
    folds = [
        "heldout" if _number(f"{settings.split_salt}:{group}") % 1000 < settings.heldout_permille else "train"
        for group in groups
    ]
    return pl.DataFrame({"group_id": groups, "fold": folds})


def _number(text: str) -> int:
    """DuckDB's md5_number_lower."""
    return int.from_bytes(hashlib.md5(text.encode()).digest()[:8], "little")


def _whole_advantage(settings: Settings) -> pl.Expr:
    return _grpo(pl.col("reward"), GROUP, settings=settings).alias("advantage_outcome")


def _grpo(value: pl.Expr, *by: str, settings: Settings) -> pl.Expr:
    centred = (value - value.mean().over(by)) / (value.std().over(by) + settings.std_floor)
    return pl.when(value.max().over(by) > value.min().over(by)).then(centred).otherwise(0.0)


def _to_go(value: pl.Expr) -> pl.Expr:
    return value.cum_sum(reverse=True).over(NUMBER)


def _softmax(logit: pl.Expr) -> pl.Expr:
    powers = (logit - logit.max().over(NUMBER)).exp()
    return powers / powers.sum().over(NUMBER)


def _credited(spoken: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    score, tokens, reward = pl.col("score"), pl.col("response_tokens"), pl.col("reward")
    spoken = spoken.with_columns(
        _to_go(score).alias("return_itpo"), pl.len().over(NUMBER).cast(pl.Float64).alias("count")
    )
    largest = spoken.select(pl.col("return_itpo").abs().max()).item() + 1e-6
    mean_tokens = spoken.select(tokens.mean()).item()
    cost = (pl.col("outcome") - reward) * tokens / tokens.sum().over(NUMBER)
    normed = _softmax(score / tokens / largest * mean_tokens / settings.temperature)
    draw, last = pl.col("dirichlet_draw"), pl.col(TURN) == pl.col(TURN).max().over(NUMBER)
    spoken = spoken.with_columns(
        (draw / draw.sum().over(NUMBER)).alias("part"),
        _softmax(score / settings.temperature).alias("up"),
        _softmax(-score / settings.temperature).alias("down"),
        (pl.col("outcome") * normed - cost).alias("credit_norm_itpo"),
        pl.when(last).then(reward).otherwise(0.0).alias("credit_outcome"),
    )
    signed = pl.when(pl.col("advantage_outcome") >= -1e-9).then("up").otherwise("down")
    spoken = spoken.with_columns(
        (1 + settings.share * (pl.col("count") * signed - 1)).alias("weight"),
        _to_go(pl.col("credit_norm_itpo")).alias("return_norm_itpo"),
    )
    return _advantages(spoken, settings)


def _advantages(spoken: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    uniform = pl.col("reward") / pl.col("count")
    outcome = pl.col("advantage_outcome")
    siblings = (GROUP, TURN)
    return spoken.with_columns(
        pl.col("score").alias("credit_itpo"),
        uniform.alias("credit_uniform"),
        (pl.col("reward") * pl.col("part")).alias("credit_dirichlet"),
        (uniform * pl.col("weight")).alias("credit_norm_itpo_share"),
        pl.col("oracle_advantage").alias("credit_oracle_pi"),
        _grpo(pl.col("return_itpo"), *siblings, settings=settings).alias("advantage_itpo"),
        _grpo(pl.col("return_norm_itpo"), *siblings, settings=settings).alias("advantage_norm_itpo"),
        (outcome * pl.col("weight")).alias("advantage_norm_itpo_share"),
        outcome.alias("advantage_uniform"),
        (outcome * pl.col("count") * pl.col("part")).alias("advantage_dirichlet"),
        _whitened(pl.col("oracle_advantage"), pl.col("response_tokens")).alias("advantage_oracle_pi"),
    )


def _whitened(value: pl.Expr, weight: pl.Expr) -> pl.Expr:
    centred = value - (value * weight).sum() / weight.sum()
    return centred / (((centred**2 * weight).sum() / weight.sum()).sqrt() + 1e-6)
