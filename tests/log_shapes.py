"""Log rows of our own making, in the shapes of the logs that are read."""

from collections.abc import Sequence

Json = dict[str, object]


def user(text: object) -> Json:
    """A user message."""
    return {"role": "user", "content": text}


def assistant(text: object, **more: object) -> Json:
    """An assistant message."""
    return {"role": "assistant", "content": text, **more}


def call(name: str, *, call_id: str = "c1") -> Json:
    """An assistant message that only calls a tool."""
    calls = [{"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}]
    return assistant(None, tool_calls=calls)


def result(text: str, *, call_id: str = "c1") -> Json:
    """What a tool returned."""
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def openai_row(*messages: Json, **more: object) -> Json:
    """One conversation of an OpenAI-style log; by default one question and one answer."""
    return {"messages": list(messages) or [user("two tickets"), assistant("booked")], **more}


def tau_row(task: int, trial: int, *, reward: object = 1.0) -> Json:
    """One conversation in the shape of a tau-bench result."""
    traj = [
        {"role": "system", "content": "Policy"},
        user(f"task {task}, attempt {trial}"),
        call("find_flight"),
        result("[]"),
        assistant("there is none"),
        user("###STOP###"),
    ]
    info = {"task": {"user_id": f"user_{task}", "instruction": "fly", "actions": []}, "user_cost": 0.1}
    return {"task_id": task, "reward": reward, "info": info, "traj": traj, "trial": trial}


def doctor_rows(patient: str, turns: int) -> list[Json]:
    """One consultation in the shape of MTMedDialog: a row per doctor turn, each with the whole history."""
    history: list[Json] = [{"role": "system", "content": "You are a doctor."}, user(patient)]
    rows: list[Json] = []
    for turn in range(turns):
        response = f"question {turn} to {patient}"
        rows.append({"prompt": list(history), "response": response, "reward_model": {"diagnosis": patient}})
        history += [assistant(response), user(f"answer {turn}")]
    return rows


def numbered(rows: Sequence[Json]) -> list[tuple[int, Json]]:
    """Rows as a reader hands them over, counted from 1."""
    return list(enumerate(rows, start=1))
