"""Who answers as user and judge about scenarios of files: by rules that hold for any text.

As in `sales_brains`, what a brain knows it reads off the prompt, and it says the same when asked again.
"""

import json
import re
from typing import Any

from itpo_core.envs.document_drafts import assembled
from itpo_core.envs.math_answers import same_answer, stated_answer
from tests.itpo_core.envs.domain_brains import JudgeOf, case_of
from tests.itpo_core.envs.sales_brains import AGAIN, Answer, Spoken

WORDS_AT_A_TIME = 5


def file_brain(request: dict[str, Any]) -> Answer:  # Any: JSON
    """The answer to whichever of the two is asked."""
    spoken = [each for each in request["messages"] if not each["content"].startswith(AGAIN)]
    if spoken[0]["content"].startswith("You play"):
        return telling(spoken)
    reference, said = case_of(spoken)
    asked_for = next(key for key in JUDGES if f'"{key}"' in spoken[0]["content"])
    return {"rationale": "by a rule", "cannot_judge": False, **JUDGES[asked_for](reference, said)}


def telling(spoken: Spoken) -> Answer:
    """The next few words of what he knows; he leaves when there are no more."""
    prompt, _, *said = spoken
    known = prompt["content"].partition("What you know")[2].partition("How you are")[0]
    words = re.findall(r"^- [^:]+: (.+)", known, re.MULTILINE | re.DOTALL)[0].split()
    turn = sum(each["role"] == "user" for each in said) - 1
    part = words[turn * WORDS_AT_A_TIME : (turn + 1) * WORDS_AT_A_TIME]
    return {"thought": "as ever", "message": " ".join(part), "wants_to_stop": not part}


def correct(reference: str, said: list[str]) -> Answer:
    """Whether the first stated answer is the problem's."""
    given = next((answer for answer in map(stated_answer, said) if answer is not None), "")
    return {"correct": int(same_answer(given, json.loads(reference)["answer"]))}


def grade(reference: str, said: list[str]) -> Answer:
    """Five for each of diagnosis and advice that was named."""
    right, text = json.loads(reference), " ".join(said)
    return {"grade": 5 * sum(right[key] in text for key in ("diagnosis", "recommendation"))}


JUDGES: dict[str, JudgeOf] = {
    "correct": correct,
    "document": lambda reference, said: {"document": assembled(said)},
    "grade": grade,
}
