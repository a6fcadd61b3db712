"""The `itpo` command: every stage by hand, all of them in order, and what a person asks of the lake.

Errors that a user can mend end with one line and exit code 2; anything else is a bug and shows its traceback.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from storage.errors import StorageError
from tasks import (
    commands_care,
    commands_export,
    commands_fidelity,
    commands_merge,
    commands_outcomes,
    commands_receipts,
    commands_recompute,
    commands_train,
    threads,
)
from tasks.cli_options import (
    DEFAULT_CONFIG,
    AdvantageOption,
    AlgorithmOption,
    ConfigOption,
    ExperimentOption,
    IterationOption,
    LakeOption,
    SeedOption,
    SetOption,
)
from tasks.config import ConfigError
from tasks.options import options_of
from tasks.plain_text import visible
from tasks.refusals import FailureBudgetError

LOOP, STAGES, LAKE, LAB = "The loop", "Single stages", "The lake", "Experiments"
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


def _stage(name: str, summary: str) -> None:
    @app.command(name.replace("_", "-"), help=summary, rich_help_panel=STAGES)
    def command(
        config: ConfigOption = DEFAULT_CONFIG,
        experiment: ExperimentOption = None,
        iteration: IterationOption = 0,
        lake: LakeOption = None,
        seed: SeedOption = None,
        algorithm: AlgorithmOption = None,
        advantage: AdvantageOption = None,
        settings: SetOption = None,
    ) -> None:
        from tasks import console

        options = options_of(
            config,
            experiment=experiment,
            lake=lake,
            seed=seed,
            algorithm=algorithm,
            advantage=advantage,
            settings=settings,
        )
        console.run_stage(options, name, iteration=iteration)


@app.command(
    "run",
    help="Run whole iterations in this process, without Airflow; finished stages are skipped.",
    rich_help_panel=LOOP,
)
def run_command(
    config: ConfigOption = DEFAULT_CONFIG,
    experiment: ExperimentOption = None,
    iterations: Annotated[int, typer.Option(min=0, help="Online iterations after iteration 0.")] = 5,
    lake: LakeOption = None,
    seed: SeedOption = None,
    algorithm: AlgorithmOption = None,
    advantage: AdvantageOption = None,
    settings: SetOption = None,
) -> None:
    """All stages of iterations 0 to `iterations`, in order."""
    from tasks import console

    options = options_of(
        config,
        experiment=experiment,
        lake=lake,
        seed=seed,
        algorithm=algorithm,
        advantage=advantage,
        settings=settings,
    )
    console.run_iterations(options, iterations)


@app.command("import", help="Import log files as iteration 0 of an experiment.", rich_help_panel=LOOP)
def import_command(
    *,
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="JSONL, JSON or Parquet files; none: the domain's scripted logs."),
    ] = None,
    experiment: Annotated[str, typer.Option("--experiment", "-e", help="Name of the experiment to start.")],
    log_format: Annotated[
        str | None,
        typer.Option("--format", "-f", help="auto (looks at the rows), or one of docs/real-logs.md."),
    ] = None,
    outcome_column: Annotated[
        str | None, typer.Option(help="Where the log holds its outcome (outcome).")
    ] = None,
    user_column: Annotated[
        str | None, typer.Option(help="Where the log holds who the user was (user).")
    ] = None,
    personal_data: Annotated[
        str | None,
        typer.Option(help="keep, mask or quarantine e-mail, phone, card, IBAN and national numbers."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    lake: LakeOption = None,
    settings: SetOption = None,
) -> None:
    """Accepted + quarantined + duplicate = read, with the reasons."""
    from tasks import console

    options = options_of(config, experiment=experiment, lake=lake, settings=settings)
    if files:
        asked = {
            "format": log_format or options.overrides.get("logs.format", "auto"),
            "outcome_column": outcome_column,
            "user_column": user_column,
            "personal_data": personal_data,
        }
        # What was not asked for is as the configuration, or --set, has it.
        given = {name: value for name, value in asked.items() if value is not None}
        options = options.with_section("logs", {"paths": [str(path) for path in files], **given})
    console.run_stage(options, "import", iteration=0)


@app.command(
    "sql",
    help="Query the committed lake: views conversations, turns, credits, evaluations, policies, ...",
    rich_help_panel=LAKE,
)
def sql_command(
    statement: Annotated[
        str | None, typer.Argument(help="One SQL statement; none opens a list of the views.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    experiment: ExperimentOption = None,
    lake: LakeOption = None,
    file: Annotated[Path | None, typer.Option("--file", help="Read the statement from a file.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Most rows to print.")] = 50,
    iteration: Annotated[
        int | None, typer.Option("--iteration", "-i", min=0, help="Only this iteration's commits.")
    ] = None,
    script: Annotated[Path | None, typer.Option(help="Write the views as SQL for `duckdb -init`.")] = None,
    form: Annotated[str, typer.Option("--format", "-f", help="table, csv, json or markdown.")] = "table",
    settings: SetOption = None,
) -> None:
    """Plain SQL over exactly the committed rows."""
    from tasks import ask

    options = options_of(config, experiment=experiment, lake=lake, settings=settings)
    if script is not None:
        ask.write_script(options, script, iteration=iteration)
    else:
        question = ask.read_question(file) if file else statement
        ask.print_answer(options, question, rows=rows, iteration=iteration, form=form)


@app.command(
    "policies", help="Every registered version and every decision, newest last.", rich_help_panel=LOOP
)
def policies_command(
    config: ConfigOption = DEFAULT_CONFIG, experiment: ExperimentOption = None, lake: LakeOption = None
) -> None:
    """The registry as two tables."""
    from tasks import console

    console.print_registry(options_of(config, experiment=experiment, lake=lake))


@app.command(
    "rollback",
    help="Make an earlier version current again; the event and its reason are kept.",
    rich_help_panel=LOOP,
)
def rollback_command(
    reason: Annotated[str, typer.Option(help="Why; it is kept in the registry.")],
    to: Annotated[
        str | None, typer.Option(help="Version, e.g. sales/v0002; default: the one before.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    experiment: ExperimentOption = None,
    lake: LakeOption = None,
) -> None:
    """The current version changes; nothing is deleted."""
    from tasks import console

    console.roll_back(options_of(config, experiment=experiment, lake=lake), to=to, reason=reason)


@app.command(
    "chat",
    help="Talk to any policy version, or to any folder of a causal language model.",
    rich_help_panel=LOOP,
)
def chat_command(
    policy: Annotated[
        str, typer.Argument(help="Version (sales/v0003), 'current', or a model folder.")
    ] = "current",
    config: ConfigOption = DEFAULT_CONFIG,
    experiment: ExperimentOption = None,
    lake: LakeOption = None,
    seed: SeedOption = None,
) -> None:
    """One message a line; an empty line ends the conversation."""
    from tasks import chat

    chat.talk(options_of(config, experiment=experiment, lake=lake, seed=seed), policy)


@app.command(
    "experiment",
    help="Compare methods over paired seeds; what is in the lake is not run again.",
    rich_help_panel=LAB,
)
def experiment_command(
    name: Annotated[str, typer.Argument(help="Which one; a wrong name lists them all.")],
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds; default: as meant.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 2,
    tuning: Annotated[bool, typer.Option(help="Use the tuning seeds, which no result reports.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    lake: LakeOption = None,
) -> None:
    """One commit per arm and seed, then the table."""
    from tasks.experiments import command

    command.run(options_of(config, lake=lake), name, seeds=seeds, workers=workers, tuning=tuning)


@app.command(
    "results",
    help="Write docs/results.md, and a page, from the experiments in the lake.",
    rich_help_panel=LAB,
)
def results_command(
    out: Annotated[Path, typer.Option(help="The Markdown file to write.")] = Path("docs/results.md"),
    config: ConfigOption = DEFAULT_CONFIG,
    lake: LakeOption = None,
) -> None:
    """Tables, plots and the hand-written findings beside the file."""
    from tasks.experiments import command

    command.write(options_of(config, lake=lake), out)


@app.command(
    "doctor",
    help="What is installed, reachable and writable, and what to do about the rest.",
    rich_help_panel=LOOP,
)
def doctor_command(
    lake: Annotated[
        str, typer.Option("--lake", envvar="ITPO_LAKE", help="Root of the lake to try.")
    ] = "lake",
    policy: Annotated[
        Path | None, typer.Option("--policy", help="Probe the chat template of this model folder instead.")
    ] = None,
) -> None:
    """Exit code 1 when something required is missing, or when the folder's template cannot be trained on."""
    from tasks import doctor, template_check

    raise typer.Exit(doctor.run(lake) if policy is None else template_check.show(policy))


for _module in (commands_receipts, commands_export, commands_merge, commands_care, commands_fidelity):
    _module.add_to(app, panel=LAKE)

for _name, _summary in {
    "collect": "Roll out the current policy with simulated users, all shards, and seal the iteration.",
    "curate": "Decide in SQL which conversations may train, and count the others by reason.",
    "warm_start": "Make policy version 0 from the logs of iteration 0.",
    "fit_reward": "Fit the implicit process reward model and score every kept turn.",
    "fit_q": "Fit the turn-level Q, or the critic, that the algorithm needs, and value every kept turn.",
    "credit": "Write every credit method side by side, and the advantages that train.",
    "credit_lab": "Compare every credit method on the same stored rollouts: a dataset and a page.",
    "evaluate": "Evaluate candidate and incumbent on common held-out scenarios and seeds.",
    "decide": "Promote, hold or roll back, with the evidence in the registry.",
    "report": "Write the HTML report of the iteration and of the experiment.",
}.items():
    _stage(_name, _summary)
commands_train.add_to(app, panel=STAGES)
commands_recompute.add_to(app, panel=STAGES)
commands_outcomes.add_to(app, panel=LOOP)


def main() -> None:
    """Entry point of the console command."""
    threads.limit()
    try:
        app()
    except (ConfigError, StorageError, FailureBudgetError) as error:
        typer.secho(f"itpo: {visible(str(error))}", err=True, fg=typer.colors.RED)
        sys.exit(2)


if __name__ == "__main__":
    main()
