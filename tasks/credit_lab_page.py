"""The page of the credit lab: rows of the `lab` dataset in, one self-contained HTML page out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from itpo_core.turn_rewards import TURN_REWARDS
from storage.commits import Commit
from tasks.config import Credit
from tasks.context import Context
from tasks.report import reports_folder
from tasks.report_pages import TEMPLATES, environment, script_digest
from tasks.report_words import METHODS, count, percent, spoken

Row = Mapping[str, object]
Rows = Sequence[Row]
Values = dict[str, Any]  # Any: template values
WORDS: Mapping[str, str] = {
    **METHODS,
    "norm_itpo_plain": "Norm-ITPO, plain softmax",
    "oracle_pi": "truth (Q - V of who spoke)",
    "oracle_star": "truth (Q* - V* of the best)",
}
ORDER = tuple(TURN_REWARDS)
MOVED = 1e-9  # from here on a change is one of the method and not of rounding


def write_page(context: Context, commit: Commit, *, rows: Rows) -> Path:
    """Write the page under the experiment's reports and return where; the lake keeps the numbers."""
    folder = reports_folder(context)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"credit-lab-{context.iteration:04d}.html"
    page = page_html(rows, context.config.credit, experiment=context.experiment, source=commit.key.text)
    path.write_text(page, encoding="utf-8")
    return path


def page_html(rows: Rows, settings: Credit, *, experiment: str, source: str) -> str:
    """The whole page as text."""
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    assets = {"script": "", "script_digest": script_digest(""), "style": style}
    values = {**page_values(rows, settings), "experiment": experiment, "source_commit": source}
    return environment().get_template("credit_lab.html.j2").render({**assets, **values})


def page_values(rows: Rows, settings: Credit) -> Values:
    """What the template is filled with."""
    sizes = {str(row["figure"]): int(_number(row)) for row in rows if row["method"] == "all"}
    return {
        "sizes": {name: count(sizes[f"{name}s"], name) for name in ("conversation", "group", "turn")},
        "unscored": sizes["unscored_conversations"],
        "settings": settings.model_dump(mode="json"),
        "answers": answers(rows),
        "methods": method_rows(rows, having="variance"),
        "biases": method_rows(rows, having="bias_cosine"),
        "turns": turn_columns(rows),
        "depths": depth_rows(rows),
        "agreement": agreement_rows(rows),
        "compared": names_of(rows, "agreement"),
        "refused": [
            {"method": spoken(str(row["method"]), WORDS), "reason": row["reason"]}
            for row in rows
            if row["figure"] == "refused"
        ],
    }


def answers(rows: Rows) -> list[dict[str, str]]:
    """The three questions that a reader has first, each in a sentence."""
    moved = of_figure(rows, "batch_moves_rewards")
    flips = of_figure(rows, "sign_flips")
    ranks = {
        name: value for name, value in of_figure(rows, "oracle").items() if not name.startswith("oracle")
    }
    found = [
        {
            "question": "Whose turn rewards depend on what else is in the batch?",
            "text": _listed({name: value for name, value in moved.items() if value > MOVED}, percent)
            or "Nobody's: each half alone gives the same turn rewards.",
        },
        {
            "question": "Who turns the outcome's verdict round?",
            "text": _listed({name: value for name, value in flips.items() if value > 0}, percent)
            or "Nobody: every turn keeps the sign of its conversation's advantage.",
        },
    ]
    if ranks:
        best = dict(sorted(ranks.items(), key=lambda item: -item[1])[:3])
        text = f"{_listed(best, _two)}; the placebo {_two(ranks.get('dirichlet', 0.0))}."
        found.append({"question": "Who ranks turns most as the truth does?", "text": text})
    return found


def method_rows(rows: Rows, *, having: str) -> list[dict[str, str]]:
    """One row per method that has this figure, with all of its figures."""
    return [
        {
            "method": spoken(name, WORDS),
            **_written({str(row["figure"]): row for row in rows if _is_of(row, name)}),
        }
        for name in names_of(rows, having)
    ]


def depth_rows(rows: Rows) -> list[dict[str, str]]:
    """Per method, the part of all gradient weight at each turn index."""
    parts = {
        (str(row["method"]), str(row["turn_index"])): _number(row)
        for row in rows
        if row["figure"] == "gradient_part"
    }
    return [
        {
            "method": spoken(name, WORDS),
            **{turn: percent(parts[name, turn]) for turn in turn_columns(rows) if (name, turn) in parts},
        }
        for name in names_of(rows, "gradient_part")
    ]


def turn_columns(rows: Rows) -> list[str]:
    """The turn indices of the depth table, in order."""
    turns = {int(str(row["turn_index"])) for row in rows if row["figure"] == "gradient_part"}
    return [str(turn) for turn in sorted(turns)]


def agreement_rows(rows: Rows) -> list[Values]:
    """The matrix of rank correlations: per method its cells, each with the strength of its shade."""
    found = {
        (str(row["method"]), str(row["against"])): _number(row)
        for row in rows
        if row["figure"] == "agreement"
    }
    names = names_of(rows, "agreement")
    return [
        {
            "method": spoken(one, WORDS),
            "cells": [
                {
                    "text": f"{found[one, two]:+.2f}",
                    "shade": f"{abs(found[one, two]):.2f}",
                    "is_negative": found[one, two] < 0,
                }
                for two in names
            ],
        }
        for one in names
    ]


def names_of(rows: Rows, figure: str) -> list[str]:
    """Methods with this figure, in the order in which turn rewards are listed."""
    found = {str(row["method"]) for row in rows if row["figure"] == figure}
    return [name for name in ORDER if name in found]


def of_figure(rows: Rows, figure: str) -> dict[str, float]:
    """The figure by method, in that order."""
    found = {str(row["method"]): _number(row) for row in rows if row["figure"] == figure}
    return {name: found[name] for name in ORDER if name in found}


def _written(figures: Mapping[str, Row]) -> dict[str, str]:
    shares = {"variance_inside", "sign_flips", "batch_moves_rewards", "batch_moves_advantages"}
    return {
        name: percent(_number(row)) if name in shares else f"{_number(row):.3f}"
        for name, row in figures.items()
    }


def _is_of(row: Row, method: str) -> bool:
    is_single = row["against"] == "" and row["turn_index"] == -1
    return row["method"] == method and is_single and row["value"] is not None


def _listed(values: Mapping[str, float], write: Any) -> str:  # Any: a function of one number
    return ", ".join(f"{spoken(name, WORDS)} {write(value)}" for name, value in values.items())


def _two(value: float) -> str:
    return f"{value:+.2f}"


def _number(row: Row) -> float:
    return float(str(row["value"]))
