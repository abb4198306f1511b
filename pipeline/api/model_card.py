"""The page of a model: what it is, how it is asked, and how well it does beside controls."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluate.measures.contract import Table, tables_of
from pipeline.evaluate.report.figures import cell, groups_of, heading
from pipeline.evaluate.result import LABEL_FREE, Evaluation
from pipeline.settings.yaml_text import dump_yaml

_TAGS = ["audio-visual", "self-supervised", "sound-source-localization"]


def model_card(
    name: str, step: int, settings: Mapping[str, Any], evaluation: Evaluation | None, license: str | None
) -> str:
    """Markdown, with the Hub's data before it.

    Args:
        name: by which `gavt.load` finds it.
        settings: all of the run.
        evaluation: of which every row stands in it, controls and ceilings too.
        license: of the weights.
    """
    data = {"library_name": "gavt", "tags": _TAGS, **({} if license is None else {"license": license})}
    model, task, train = (settings[section] for section in ("model", "task", "train"))
    label_free = "" if evaluation is None else f" {_sentence(evaluation['label_aided'] or LABEL_FREE)}"
    lines = [
        "---",
        dump_yaml(data).rstrip(),
        "---",
        "",
        f"# {settings['name']}",
        "",
        f"A model of kind `{model['kind']}`, trained by `{task['kind']}` for {step:,} steps of {train['batch_size']} "
        f"samples with gavt.{label_free} All settings are in `config.yaml`.",
        "",
        "```python",
        "import gavt  # pip install 'gavt[hub]'",
        "",
        f'model = gavt.load("{name}")',
        'found = model.localize("concert.mp4")  # found.maps [T, h, w] at found.times_s',
        "```",
        "",
        "## How it was judged",
        "",
    ]
    if evaluation is None:
        return "\n".join([*lines, "It was not: no evaluation.json lay beside it.", ""])
    said = [f"On {evaluation['samples']:,} samples.", *map(_sentence, evaluation["warnings"])]
    lines += [" ".join(said), "Controls don't hear or don't see: a model that does no better has learnt nothing."]
    for table in tables_of(evaluation):
        lines += _table(table)
    return "\n".join([*lines, *(f"\n{_sentence(why)}" for why in evaluation["left_out"]), ""])


def _table(table: Table) -> list[str]:
    if not table.rows:
        return []
    shares = "; shares in per cent" if any(column.unit == "share" for column in table.columns) else ""
    titles = [heading(column.title, column.unit) for column in table.columns]
    rows = [["", "", *titles], ["---", "---", *(["---:"] * len(titles))]]
    for group in groups_of(table):
        for row in group.rows:
            made_by = f" ({row.made_by})" if row.made_by and row.made_by != row.name else ""
            figures = [cell(row, column.name, column.unit) for column in table.columns]
            rows.append([group.title, f"{row.name}{made_by}", *figures])
    said = [_sentence(one) for one in (*table.notes, *table.warnings)]
    title = _sentence(f"{table.title}, {table.samples:,} samples{shares}").removesuffix(".")
    return ["", f"### {title}", "", *map(_line, rows), "", *said]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(one.split()).replace("|", "\\|") for one in cells) + " |"


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."
