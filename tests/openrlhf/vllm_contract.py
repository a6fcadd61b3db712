"""Run with the interpreter that has vLLM: the contract of every engine, function by function.

Prints which functions held, and which asked for another context than the one this process has: one process
has one vLLM.
"""

import json
import sys
import traceback
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType

from itpo_core.engines.vllm import VllmEngine, VllmSettings
from itpo_core.tiny_policy import load_chat_format

ROOT = Path(__file__).parents[2]
# The tests' own tools, behind everything that this interpreter has itself.
OUR_PACKAGES = ROOT / ".venv" / "lib" / "python3.11" / "site-packages"


class OtherContext(Exception):
    """Asked for an engine of another size."""


def functions() -> dict[str, FunctionType]:
    """The contract, by name."""
    sys.path.append(str(OUR_PACKAGES))
    # Some package of this interpreter brings a `tests` of its own, which would be found before ours.
    sys.modules["tests"] = ModuleType("tests")
    sys.modules["tests"].__path__ = [str(ROOT / "tests")]
    from tests.contracts import test_engine as contract

    return {name: each for name, each in vars(contract).items() if name.startswith("test_")}


def made(engine: VllmEngine, context: int, asked: int) -> VllmEngine:
    """The engine, for those who ask for its size."""
    if asked != context:
        raise OtherContext(str(asked))
    return engine


def outcome(function: FunctionType, engine: VllmEngine, context: int) -> str:
    """Whether one function held: "held", "other context", or where it did not."""
    try:
        function(partial(made, engine, context))
    except OtherContext:
        return "other context"
    except Exception:  # any way in which a contract can be broken is a result of its own
        return traceback.format_exc(limit=-2)
    return "held"


def main(folder: Path, context: int) -> None:
    """Every function on one engine."""
    settings = VllmSettings(memory_share=0.3, dtype="float32", eager=True)
    engine = VllmEngine(folder, load_chat_format(folder), max_context_tokens=context, settings=settings)
    found = {name: outcome(each, engine, context) for name, each in functions().items()}
    print(f"CONTRACT {json.dumps(found)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
