"""The options that several commands share: one help text and one type each."""

from pathlib import Path
from typing import Annotated

import typer

from tasks.config import ADVANTAGES, Algorithm

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="TOML file of the experiment.")]
ExperimentOption = Annotated[
    str | None, typer.Option("--experiment", "-e", help="Name; default: the file's.")
]
IterationOption = Annotated[int, typer.Option("--iteration", "-i", min=0, help="Which iteration.")]
LakeOption = Annotated[str | None, typer.Option("--lake", help="Root of the lake; default: the file's.")]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="Root of every random choice.")]
AlgorithmOption = Annotated[Algorithm | None, typer.Option("--algorithm", help="Turn reward that trains.")]
AdvantageOption = Annotated[
    str | None, typer.Option("--advantage", help="Estimator: " + ", ".join(ADVANTAGES) + ".")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any key of the file, e.g. train.epochs=2."),
]
DEFAULT_CONFIG = Path("configs/sales_small.toml")
