"""The questions that a person asks first, over rows that can be counted by hand."""

from tests.sql.duck import rows_of


def test_outcome_by_number_of_turns_never_takes_unknown_for_zero() -> None:
    conversations = [
        {"conversation_id": "a", "n_turns": 2, "outcome": 1.0},
        {"conversation_id": "b", "n_turns": 2, "outcome": None},
        {"conversation_id": "c", "n_turns": 3, "outcome": 0.0},
    ]

    rows = rows_of("questions/outcome_by_number_of_turns.sql", {"conversations": conversations})

    assert rows == [
        {"turns": 2, "conversations": 2, "unscored": 1, "mean_outcome": 1.0},
        {"turns": 3, "conversations": 1, "unscored": 0, "mean_outcome": 0.0},
    ]


def test_outcome_by_tool_counts_a_conversation_once_however_often_it_calls() -> None:
    conversations = [
        {"conversation_id": "a", "outcome": 1.0},
        {"conversation_id": "b", "outcome": 0.0},
        {"conversation_id": "c", "outcome": None},
    ]
    turns = [
        {"conversation_id": "a", "turn_index": 0, "tool_names": "find,find"},
        {"conversation_id": "a", "turn_index": 1, "tool_names": "cancel"},
        {"conversation_id": "b", "turn_index": 0, "tool_names": "find"},
        {"conversation_id": "c", "turn_index": 0, "tool_names": None},
    ]

    rows = rows_of("questions/outcome_by_tool.sql", {"conversations": conversations, "turns": turns})

    assert [tuple(row.values()) for row in rows] == [
        ("find", 2, 3, 0, 0.5),
        ("(none)", 1, 0, 1, None),
        ("cancel", 1, 1, 0, 1.0),
    ]


def test_turns_without_token_ids_have_words_but_no_tokens() -> None:
    turns = [
        {"conversation_id": "a", "turn_index": 0, "iteration": 0, "assistant_text": "how can  I help"},
        {
            "conversation_id": "b",
            "turn_index": 0,
            "iteration": 1,
            "assistant_text": "hello",
            "response_tokens": 3,
        },
        {
            "conversation_id": "b",
            "turn_index": 1,
            "iteration": 1,
            "assistant_text": "a b c",
            "response_tokens": 4,
        },
    ]

    logs, spoken = rows_of("questions/tokens_per_turn.sql", {"turns": turns})

    assert (logs["turns"], logs["mean_tokens"], logs["mean_words"]) == (1, None, 4.0)
    assert (spoken["turns"], spoken["mean_tokens"], spoken["mean_words"]) == (2, 3.5, 2.0)


def test_credit_by_turn_kind_puts_the_best_kind_first() -> None:
    keys = [{"conversation_id": "a", "turn_index": index} for index in range(3)]
    kinds = ["small_talk", "ask", "ask"]
    turns = [{**key, "turn_kind": kind} for key, kind in zip(keys, kinds, strict=True)]
    credits = [
        {**key, "credit_outcome": 1.0, "credit_itpo": itpo, "credit_oracle_pi": oracle}
        for key, itpo, oracle in zip(keys, (-0.2, 0.1, 0.3), (-0.1, 0.2, 0.2), strict=True)
    ]

    ask, talk = rows_of("questions/credit_by_turn_kind.sql", {"turns": turns, "credits": credits})

    assert (ask["turn_kind"], ask["turns"], ask["itpo"], ask["oracle"]) == ("ask", 2, 0.2, 0.2)
    assert (talk["turn_kind"], talk["turns"], talk["itpo"], talk["oracle"]) == ("small_talk", 1, -0.2, -0.1)
    assert ask["norm_itpo"] is None


def test_an_opening_counts_from_thirty_conversations_on_and_not_in_logs() -> None:
    ids = [f"c{number:02d}" for number in range(61)]
    conversations = [
        {
            "experiment": "e",
            "conversation_id": name,
            "iteration": int(name != "c60"),
            "outcome": float(place < 15),
        }
        for place, name in enumerate(ids)
    ]
    conversations[59]["outcome"] = None
    turns = [
        {
            "experiment": "e",
            "conversation_id": name,
            "turn_index": 0,
            "user_text": "hi" if place < 30 else "hello",
        }
        for place, name in enumerate(ids)
    ]

    rows = rows_of("questions/which_openings_fail.sql", {"conversations": conversations, "turns": turns})

    assert [(row["opening"], row["conversations"], row["unscored"], row["success"]) for row in rows] == [
        ("hello", 30, 1, 0.0),
        ("hi", 30, 0, 0.5),
    ]


def test_what_changed_sets_the_two_newest_iterations_side_by_side() -> None:
    conversations = [
        {"experiment": "e", "conversation_id": name, "iteration": iteration, "outcome": outcome, "n_turns": 2,
         "assistant_tokens": 10, "status": "valid"}
        for name, iteration, outcome in [("a", 1, 1.0), ("b", 2, 0.0), ("c", 3, 1.0), ("d", 3, None)]
    ]  # fmt: skip
    turns = [
        {"experiment": "e", "conversation_id": name, "turn_index": index, "turn_kind": kind}
        for name, kinds in {"b": ("ask", "chat"), "c": ("ask", "ask"), "d": ("ask", "ask")}.items()
        for index, kind in enumerate(kinds)
    ]

    rows = rows_of("questions/what_changed.sql", {"conversations": conversations, "turns": turns})

    changed = {row["figure"]: (row["before"], row["after"], row["change"]) for row in rows}
    assert changed["success"] == (0.0, 1.0, 1.0)  # the unknown outcome is no 0
    assert changed["conversations"] == (1.0, 2.0, 1.0)
    assert changed["share of ask"] == (0.5, 1.0, 0.5)
    assert changed["share of chat"] == (0.5, None, None)


def test_a_conversation_counts_under_every_problem_that_its_user_had() -> None:
    user = {
        "experiment": "e",
        "iteration": 1,
        "simulator": "sales",
        "persona_id": "p",
        "simulator_version": "1",
    }
    conversations = [
        {**user, "conversation_id": "fine", "status": "valid", "stop_reason": "completed", "n_turns": 2},
        {**user, "conversation_id": "left", "status": "valid", "stop_reason": "user_left", "n_turns": 2},
        {**user, "conversation_id": "lost", "status": "failed", "failure_kind": "timeout",
         "failure_cause": "no answer in 30 s", "stop_reason": "failed", "n_turns": 0},
        {**user, "conversation_id": "log", "status": "failed", "iteration": 0, "stop_reason": "failed"},
    ]  # fmt: skip
    turns = [
        {"experiment": "e", "conversation_id": "left", "turn_index": index, "user_text": "again"}
        for index in range(2)
    ]

    rows = rows_of("questions/where_users_break.sql", {"conversations": conversations, "turns": turns})

    assert [(row["problem"], row["conversations"], row["share"], row["first_cause"]) for row in rows] == [
        ("ended by user_left", 1, 0.3333, None),
        ("failed: timeout", 1, 0.3333, "no answer in 30 s"),
        ("user said the same twice", 1, 0.3333, None),
    ]


def test_the_newest_policy_is_told_apart_from_those_before_it() -> None:
    conversations = [
        {"experiment": "e", "conversation_id": name, "policy_version": "e/v0000", "simulator": "sales",
         "simulator_version": "1", "judge_version": "rule", "outcome": outcome}
        for name, outcome in [("a", 1.0), ("b", 0.0), ("c", None)]
    ]  # fmt: skip
    learnt = [
        {"experiment": "e", "policy_version": policy, "conversation_id": name, "relation": relation,
         "source_key": source}
        for policy, name, relation, source in [
            ("e/v0001", "a", "direct", "e/credit/0001"),
            ("e/v0002", "b", "direct", "e/credit/0002"),
            ("e/v0002", "c", "direct", "e/credit/0002"),
            ("e/v0002", "a", "inherited", "e/credit/0001"),
        ]
    ]  # fmt: skip

    rows = rows_of(
        "questions/what_a_policy_learnt_from.sql",
        {"policy_conversations": learnt, "conversations": conversations},
    )

    found = [(row["policy"], row["relation"], row["source"], row["conversations"]) for row in rows]
    assert found == [
        ("e/v0002", "direct", "e/credit/0002", 2),
        ("e/v0002", "inherited", "e/credit/0001", 1),
    ]
    assert [row["mean_outcome"] for row in rows] == [0.0, 1.0]  # an unknown outcome is no 0
