"""The two pages as HTML text: facts and configuration in, bytes that depend on nothing else out."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from storage import registry
from tasks.config import Algorithm, Config
from tasks.fidelity import Comparison
from tasks.from_logs import has_users, steps_on_logs
from tasks.report_answers import Answer, answers, reward_figures
from tasks.report_certificate import (
    certificate_answer,
    certificate_rows,
    certificate_sentence,
    certificate_table,
    q_answer,
    q_calibration,
    q_rows,
    q_table,
)
from tasks.report_data import EMPTY, IterationFacts, Panel, merged
from tasks.report_fidelity import fidelity_answer, fidelity_rows, fidelity_sentence, source_line
from tasks.report_models import models_values
from tasks.report_plots import (
    credit_drawing,
    drift_drawings,
    drop_drawings,
    length_drawing,
    reward_drawings,
    success_drawings,
    training_drawings,
)
from tasks.report_tables import (
    REWARD,
    TRAINING,
    agreement_rows,
    arm_rows,
    calibration_rows,
    credit_rows,
    decision_row,
    difference_rows,
    drop_rows,
    evidence_rows,
    named_figures,
    spoken_rows,
)
from tasks.report_talks import QUANTITIES, methods_shown, talks
from tasks.report_words import ENDINGS, ESTIMATORS, FATES, METHODS, figure, percent, spoken

TEMPLATES = Path(__file__).parent / "templates"
LEARNED = frozenset({Algorithm.NORM_ITPO_SHARE, Algorithm.ITPO, Algorithm.NORM_ITPO})
MANY_CONVERSATIONS = 1000  # from here on, turn credit and outcome taught equally well in our measurements
Values = dict[str, Any]  # Any: template values


def page_name(iteration: int) -> str:
    """File name of an iteration's page."""
    return f"iteration-{iteration:04d}.html"


def experiment_html(facts: Sequence[IterationFacts], config: Config, *, current: str | None) -> str:
    """The experiment's page: the answers of its newest iteration, then every iteration side by side."""
    return _render("experiment.html.j2", experiment_values(facts, config, current=current))


def iteration_html(
    facts: IterationFacts, config: Config, *, viewer: Panel, users: Comparison | None = None
) -> str:
    """An iteration's page: its answers, evidence, credit against the truth, conversations and lineage."""
    return _render("iteration.html.j2", iteration_values(facts, config, viewer=viewer, users=users))


def experiment_values(facts: Sequence[IterationFacts], config: Config, *, current: str | None) -> Values:
    """What the experiment's template is filled with."""
    last = facts[-1]
    drops, latest = merged([each.drops for each in facts]), latest_credited(facts)
    return {
        "experiment": config.experiment,
        "algorithm": spoken(algorithm_shown(config), METHODS),
        "algorithm_name": algorithm_shown(config),
        "estimator": estimator_shown(config),
        "current": current or "none",
        "config_digest": config.digest,
        "last": last,
        "is_import": len(facts) == 1 and last.decision is None and not last.policy,
        "answers": all_answers(last, config),
        "certificates": certificate_table(facts),
        "qs": q_table(facts),
        "success": success_drawings(facts),
        "decisions": [decision_row(each) for each in facts],
        "drops": drop_drawings(facts),
        "drop_rows": drop_rows(drops.rows),
        "drop_source": drops.source,
        "drift": drift_drawings(facts, config.decide),
        "reward": reward_drawings(facts, config.reward),
        "credit": [] if latest is None else credit_drawing(latest),
        "agreement": [] if latest is None else agreement_rows(latest),
        "agreement_source": "" if latest is None else latest.credited.agreement.source,
        "is_plentiful": is_plentiful(config),
        "logs": log_values(facts[0]) if len(facts) == 1 else {},
        "pages": [(page_name(each.iteration), decision_row(each)) for each in facts],
        "lineage": [row for each in facts for row in each.lineage],
    }


def iteration_values(
    facts: IterationFacts, config: Config, *, viewer: Panel, users: Comparison | None = None
) -> Values:
    """What the iteration's template is filled with."""
    decision, figures = facts.decision, reward_figures(facts)
    return {
        "experiment": config.experiment,
        "facts": facts,
        "steps_on_logs": steps_on_logs(config, facts.iteration),
        "answers": [*all_answers(facts, config), *([] if users is None else [fidelity_answer(users)])],
        "users": {} if users is None else users_values(users),
        "evidence": [] if decision is None else evidence_rows(decision, config),
        "speaker": None if decision is None else registry.speaker_after(decision) or "nobody",
        "certificate": [] if decision is None else certificate_rows(decision),
        "verdict": "" if decision is None else certificate_sentence(decision),
        "q_figures": q_rows(facts),
        "q_calibration": q_calibration(facts),
        "arms": arm_rows(facts),
        "differences": difference_rows(facts),
        "spoken": spoken_rows(facts),
        "drop_rows": drop_rows(facts.drops.rows),
        "endings": facts.said.endings.rows,
        "models": models_values(facts),
        "credit": credit_drawing(facts),
        "agreement": agreement_rows(facts),
        "credit_rows": credit_rows(facts),
        "training": training_drawings(facts),
        "training_figures": named_figures(facts.policy, TRAINING),
        "reward_figures": named_figures(figures, REWARD),
        "calibration": calibration_rows(figures),
        "is_plentiful": is_plentiful(config),
        "logs": log_values(facts) if facts.iteration == 0 else {},
        "methods": methods_shown(viewer.rows),
        "quantities": QUANTITIES if facts.credited.rewards != EMPTY else {},
        "chosen": facts.algorithm or "",
        "talks": talks(viewer.rows),
        "viewer_source": viewer.source,
    }


def all_answers(facts: IterationFacts, config: Config) -> list[Answer]:
    """The common questions, then those about a promise and about Q where there is one."""
    more = (certificate_answer(facts), q_answer(facts))
    common = answers(facts, decide=config.decide, reward=config.reward)
    return [*common, *(answer for answer in more if answer is not None)]


def log_values(facts: IterationFacts) -> Values:
    """What an import can show by itself: outcome by length, tools, words, rows that were refused."""
    tools = [row for row in facts.said.tools.rows if row["tool"] != "(none)"]  # what the SQL calls no tool
    return {
        "lengths": length_drawing(facts),
        "tools": facts.said.tools.rows if tools else [],
        "tools_source": facts.said.tools.source,
        "words": facts.said.words,
        "unscored": facts.said.unscored,
        "quarantine": facts.said.quarantine,
        "personal": facts.said.personal,
    }


def users_values(users: Comparison) -> Values:
    """What the section about simulated users shows: the sentence, and the table where there is one."""
    return {
        "sentence": fidelity_sentence(users),
        "rows": fidelity_rows(users),
        "source": "" if users.found is None else source_line(users, users.found),
    }


def latest_credited(facts: Sequence[IterationFacts]) -> IterationFacts | None:
    """The newest iteration that gave credit."""
    return next((each for each in reversed(facts) if each.algorithm is not None), None)


def is_plentiful(config: Config) -> bool:
    """Whether learned turn credit meets so many conversations per iteration that it hardly pays."""
    return config.credit.algorithm in LEARNED and config.collect.conversations >= MANY_CONVERSATIONS


def algorithm_shown(config: Config) -> str:
    """Whose credit trains; where a log file is all there is, that of the step on its turns."""
    return config.credit.algorithm.value if has_users(config) else f"offline_{config.offline.credit}"


def estimator_shown(config: Config) -> str:
    """How advantages are made; nothing where they are a record and fresh turns, or logged ones, train."""
    is_recorded = config.credit.algorithm is Algorithm.ITERATIVE_PPO or not has_users(config)
    return "" if is_recorded else spoken(config.credit.advantage, ESTIMATORS)


def environment() -> jinja2.Environment:
    """Templates with the report's formats; everything is escaped except our own plots, style and script."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"figure": figure, "percent": percent, "ending": _ending, "fate": _fate}
    return templates


def script_digest(script: str) -> str:
    """The hash by which the page's own policy lets this script run, and no other."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _render(template: str, values: Mapping[str, object]) -> str:
    script = (TEMPLATES / "viewer.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    assets = {"script": script, "script_digest": script_digest(script), "style": style}
    return environment().get_template(template).render({**assets, **values})


def _ending(reason: str) -> str:
    return spoken(reason, ENDINGS)


def _fate(reason: str) -> str:
    return spoken(reason, FATES)
