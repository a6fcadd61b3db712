"""`python -m itpo_core.rewards.serve_q`: a committed Q as a reward service, on a machine that can hold it."""

import argparse
from pathlib import Path

from itpo_core.rewards.q_scorer import QScorer
from itpo_core.rewards.service import RewardService, serve_until_stopped


def main() -> None:
    """Load the folders once, then answer until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--q", type=Path, required=True, help="folder of a committed Q")
    parser.add_argument("--policy", type=Path, required=True, help="folder of the policy it was fitted on")
    parser.add_argument("--version", required=True, help="what health answers; a trainer checks it")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one, printed")
    parser.add_argument("--pessimism", type=float, default=0.0)
    parser.add_argument("--max-tokens", type=int, default=4096)
    parser.add_argument("--deadline-s", type=float, default=60.0)
    parser.add_argument("--most", type=int, default=64, help="questions in one pass")
    chosen = parser.parse_args()
    scorer = QScorer.load(chosen.q, chosen.policy, pessimism=chosen.pessimism, max_tokens=chosen.max_tokens)
    serve_until_stopped(
        RewardService(
            scorer,
            chosen.version,
            host=chosen.host,
            port=chosen.port,
            deadline_s=chosen.deadline_s,
            most=chosen.most,
        )
    )


if __name__ == "__main__":
    main()
