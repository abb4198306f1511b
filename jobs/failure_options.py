"""Options of verbs that go through many things of which some fail."""

from typing import Annotated

import typer

from jobs.number_options import finite

RetryOption = Annotated[
    list[str] | None,
    typer.Option(help="Do what failed again: transient, all, or a reason of the ledger; repeatable."),
]
MaxFailureRateOption = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, callback=finite, help="Stop when more than this share fails, from 50 on.", show_default=False
    ),
]
