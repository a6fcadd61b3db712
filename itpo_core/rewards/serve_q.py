"""`python -m itpo_core.rewards.serve_q`: a committed reward version as a service, where it can be held.

`--q` serves a Q (chances of success), `--prm` a process reward model (ITPO's score of a turn, in logits).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from itpo_core.rewards.batching import Score
from itpo_core.rewards.prm_scorer import PrmScorer
from itpo_core.rewards.q_scorer import QScorer
from itpo_core.rewards.service import RewardService, serve_until_stopped


def parser() -> argparse.ArgumentParser:
    """The words of the command."""
    made = argparse.ArgumentParser(description=__doc__)
    kind = made.add_mutually_exclusive_group(required=True)
    kind.add_argument("--q", type=Path, help="folder of a committed Q")
    kind.add_argument("--prm", type=Path, help="folder of a committed process reward model")
    made.add_argument("--policy", type=Path, required=True, help="folder of the policy it was fitted on")
    made.add_argument("--version", required=True, help="what health answers; a trainer checks it")
    made.add_argument("--host", default="127.0.0.1")
    made.add_argument("--port", type=int, default=0, help="0: a free one, printed")
    made.add_argument("--pessimism", type=float, default=0.0, help="of --q alone")
    made.add_argument("--beta", type=float, help="of --prm alone: reward.beta of the fit")
    made.add_argument("--max-tokens", type=int, default=4096)
    made.add_argument("--deadline-s", type=float, default=60.0)
    made.add_argument("--most", type=int, default=64, help="questions in one pass")
    return made


def scorer(chosen: argparse.Namespace) -> Score:
    """What the arguments name, loaded. Raises ValueError for a --prm without its beta."""
    if chosen.prm is None:
        return QScorer.load(chosen.q, chosen.policy, pessimism=chosen.pessimism, max_tokens=chosen.max_tokens)
    if chosen.beta is None:
        raise ValueError("--prm needs --beta: the reward.beta that it was fitted with")
    return PrmScorer.load(chosen.prm, chosen.policy, beta=chosen.beta, max_tokens=chosen.max_tokens)


def main(argv: Sequence[str] | None = None) -> None:
    """Load the folders once, then answer until stopped."""
    chosen = parser().parse_args(argv)
    serve_until_stopped(
        RewardService(
            scorer(chosen),
            chosen.version,
            host=chosen.host,
            port=chosen.port,
            deadline_s=chosen.deadline_s,
            most=chosen.most,
        )
    )


if __name__ == "__main__":
    main()
