"""How well the reward model of foreign logs ranks outcomes of tasks that it has not seen: docs/real-logs.md.

Run as `python -m benchmarks.log_reward_folds FILE` with tau-bench's result file; fifteen minutes of CPU.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from itpo_core.log_reward import LoggedConversation, LogRewardResult, LogRewardSettings, fit_on_logs
from itpo_core.statistics import Interval, auc_interval
from tasks.log_intake import import_files
from tasks.logged_rows import Place
from tasks.records import messages_from_json

SETTINGS = LogRewardSettings(judged_folds=5)


def conversations(path: Path) -> list[LoggedConversation]:
    """The file through the importer, in its own order."""
    table = import_files([path], log_format="tau_bench", place=Place("folds")).tables["conversations"]
    return [
        LoggedConversation(
            conversation_id=row["conversation_id"],
            group_id=row["scenario_id"],
            messages=messages_from_json(row["messages_json"]),
            outcome=row["outcome"],
        )
        for row in table.to_pylist()
    ]


def by_turns(talks: Sequence[LoggedConversation], result: LogRewardResult) -> Interval | None:
    """The ranking by the number of turns alone, fewest first: what the model has to beat."""
    known = {talk.conversation_id: talk for talk in talks}
    held = [known[name] for name in result.streams.ids]
    return auc_interval(
        [-float(turns) for turns in result.streams.turns_B.tolist()],
        [talk.outcome >= 0.5 for talk in held],
        clusters=[talk.group_id for talk in held],
        confidence=SETTINGS.confidence,
        draws=SETTINGS.draws,
        seed=SETTINGS.seed,
    )


def report(path: Path) -> None:
    """Fit every fold and print the figures."""
    talks = conversations(path)
    result = fit_on_logs(
        talks, settings=SETTINGS, on_progress=lambda done, total: print(f"fold {done}/{total}")
    )
    print(f"AUC {result.judged.auc}\nAUC of fewest turns {by_turns(talks, result)}")
    print(
        f"cross-entropy {result.judged.cross_entropy:.3f}, "
        f"of the base rate {result.judged.base_rate_entropy:.3f}"
    )
    print(f"Brier {result.judged.brier:.3f}, reference loss {result.reference_loss:.2f} nats per token")
    print(f"too long {result.too_long}, longest {result.longest_tokens} tokens")


if __name__ == "__main__":
    report(Path(sys.argv[1]))
