"""Run with the interpreter that has vLLM: hold conversations on it and print every turn as JSON."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from itpo_core.engines.base import BrokenTurn, Sampling
from itpo_core.engines.vllm import VllmEngine, VllmSettings
from itpo_core.tiny_policy import load_chat_format
from itpo_core.types import Message, Role

OPENINGS = [[Message(Role.USER, text)] for text in ("hi", "i need a tent .", "bye")]
TURNS = 3


def hold(engine: VllmEngine, sampling: Sampling) -> list[dict[str, object]]:
    """Three rows speak three turns each; the second hears nothing after its first, as a user who is slow."""
    session = engine.open(OPENINGS, seeds=[1, 2, 3], sampling=sampling)
    turns, spoken = list[dict[str, object]](), dict[int, int]()
    while finished := session.advance():
        for turn in finished:
            assert not isinstance(turn, BrokenTurn), turn.failure.cause
            turns.append(asdict(turn))
            spoken[turn.row] = spoken.get(turn.row, 0) + 1
            if turn.row != 1 and spoken[turn.row] < TURNS:
                assert session.append(turn.row, [Message(Role.USER, "large please")])
    return sorted(turns, key=lambda turn: turn["row"])


def main(folder: Path) -> None:
    """Temperatures and top_p that bend the distribution, and the same twice."""
    settings = VllmSettings(memory_share=0.3, dtype="float32", eager=True)
    engine = VllmEngine(folder, load_chat_format(folder), max_context_tokens=96, settings=settings)
    plain, warm = Sampling(max_new_tokens=5), Sampling(temperature=0.7, max_new_tokens=5)
    held = {"plain": hold(engine, plain), "again": hold(engine, plain), "warm": hold(engine, warm)}
    print(f"TURNS {json.dumps(held)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
