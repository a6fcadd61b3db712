"""Users of logs of no domain are played in the place of the logged ones: what those wanted they said."""

import json
from pathlib import Path

from itpo_core.llm.base import Call, CallStatus, Question
from tasks import fidelity, log_users, simulators
from tests.foreign_logs import foreign_config, write_log

SAID = (
    ("user", "My tea is cold."),
    ("assistant", "Which tea?"),
    ("user", "The green one."),
    ("assistant", "I see."),
)


class Talker:
    """A model that says one thing; `told` is what it was told to be."""

    digest = "talker"

    def __init__(self) -> None:
        self.told: list[str] = []

    def ask(self, question: Question) -> Call:
        """See `LanguageModel.ask`."""
        self.told.append(question.messages[0].content)
        answer = {"thought": "", "message": "It stands there since noon.", "wants_to_stop": False}
        return Call(CallStatus.ANSWERED, answer, "", 1, 3, 2, None, "m")


def test_a_user_of_no_domain_wants_what_the_logged_one_said_whatever_facts_the_log_has(
    tmp_path: Path,
) -> None:
    config = foreign_config(tmp_path, write_log(tmp_path), user__kind="llm", judge__kind="llm")
    plain, model = log_users.logged_domain(config), Talker()
    users = simulators.with_models(plain, config, models={"user": model})
    messages = json.dumps([{"role": role, "content": content} for role, content in SAID])
    row = {"conversation_id": "c", "scenario_id": "T1", "simulator": "logs", "persona_id": "default",
           "latent_json": '{"ticket": "T1"}', "messages_json": messages}  # fmt: skip

    talk, failures = fidelity.in_place_of(row, domain=users, root=0)

    assert (failures, len(model.told)) == (0, 2)
    assert all("My tea is cold." in told and "The green one." in told for told in model.told)
    assert len(talk) == 2
