"""Turn truths beside users that models play: those of the rules, or none where rules know no such user."""

import pytest

from itpo_core.engines.base import Sampling
from itpo_core.engines.scripted import ScriptedEngine
from itpo_core.envs.base import TurnOracle
from itpo_core.envs.llm_user import LlmUsers, StopContract
from itpo_core.envs.medical import MedicalEnvironment
from itpo_core.envs.medical_oracle import MedicalOracle
from itpo_core.envs.model_truths import Yardstick
from itpo_core.llm.usable import Speaker
from itpo_core.rollout import RolloutSpec, run_conversations
from itpo_core.types import Conversation, Scored, Split
from tests.itpo_core.envs.sales_brains import Scripted

WARD, ORACLE = MedicalEnvironment("small"), MedicalOracle("small")
(CASE,) = WARD.scenarios(Split.SEEN, count=1, seed=4)  # comes with a cough


def talk(answer: str, *, oracle: TurnOracle) -> Conversation:
    """A doctor asks twice and diagnoses; a model that plays the patient gives this answer both times."""
    texts = iter(["any fever ?", "any fever ?", "diagnosis nesitis ."])
    model = Scripted(lambda request: {"thought": "", "message": answer, "wants_to_stop": False})
    users = LlmUsers(WARD, Speaker(model, "m", temperature=0.0, max_tokens=64), contract=StopContract())
    (held,) = run_conversations(
        ScriptedEngine(lambda messages: next(texts)),
        users,
        oracle=oracle,
        specs=[RolloutSpec("c", "g", 0, seed=1, scenario=CASE)],
        sampling=Sampling(temperature=1.0, top_p=1.0, max_new_tokens=16),
    )
    return held


def test_what_rules_could_have_said_has_the_truths_of_the_rules() -> None:
    held = talk("itching yes", oracle=Yardstick(ORACLE))

    assert [turn.truth for turn in held.turns] == ORACLE.truths(CASE, held.messages)


def test_what_no_rule_could_have_said_has_no_truth_and_keeps_its_outcome() -> None:
    held = talk("cough yes", oracle=Yardstick(ORACLE))

    assert [turn.truth for turn in held.turns] == [None, None, None]
    assert isinstance(held.outcome, Scored)
    with pytest.raises(ValueError, match="comes with 'cough' and tells"):
        ORACLE.truths(CASE, held.messages)
