"""What a verb makes of the words of `gavt submit`, and the words by which a job does the same later: with the settings
as they are now."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cluster import storage
from cluster.errors import JobError
from cluster.masking import mask_urls

if TYPE_CHECKING:
    from typer.core import TyperCommand as Command


_FETCH = "fetch"
"""The section of the settings that is never written down: it holds what is nobody else's business, and decides nothing
of what comes out."""


class VerbWords:
    """The words behind prepare, train or evaluate.

    Attributes:
        settings: what the settings file and the overrides say.
        folder: what the verb works on.

    Raises:
        SettingsError: wrong settings. Of all else that is wrong the verb says its own sentence, and ends.
    """

    def __init__(self, verb: "Command", words: Sequence[str]) -> None:
        from pipeline.evaluate.run_files import config_of, run_folder
        from pipeline.experiment import ExperimentSettings
        from pipeline.settings.load import load_settings

        with verb.make_context(f"gavt {verb.name}", list(words)) as context:
            params: dict[str, Any] = context.params
        self._context, self._params = context, params
        self._overrides: list[str] = [*(params["overrides"] or []), *(params.get("more") or [])]
        self._config: str | None = params["config"]
        if verb.name == "evaluate":
            self._config = self._config or config_of(params["runs"][0])
        self._resolved = load_settings(self._config, ExperimentSettings, self._overrides)
        self.settings: ExperimentSettings = self._resolved.settings
        if verb.name == "evaluate":
            self.folder = storage.absolute(params["out"] or run_folder(params["runs"][0]))
        elif verb.name == "prepare":
            self.folder = storage.absolute(params["out"])
        else:
            self.folder = storage.absolute(params["run"] or f"runs/{self.settings.name}")

    def settings_text(self) -> str:
        """A settings file that says what these words say. Where the person's own file says how videos are fetched, it
        is one on top of that.

        Raises:
            JobError: a value holds a secret.
        """
        from pipeline.settings.load import dump_settings

        text = dump_settings(self.settings)
        if mask_urls(text) != text:
            shown = [(key, repr(value)) for key, value, _ in self._resolved.rows() if not key.startswith(f"{_FETCH}.")]
            key = next((key for key, value in shown if mask_urls(value) != value), "a value")
            raise JobError(f"{self._config}: {key} holds a secret, which would stand in the job's folder")
        of_file = (key for key, origin in self._resolved.origins.items() if not origin.startswith("override "))
        if self._config is None or not any(key[:1] == (_FETCH,) for key in of_file):
            return text
        return f"base: {json.dumps(storage.absolute(self._config))}  # for its section {_FETCH}\n{text}"

    def with_settings(self, file: str) -> list[str]:
        """The words that have the verb do the same with that file in place of the person's own and of overrides."""
        options = [f"--set={word}" for word in self._overrides if word.startswith(f"{_FETCH}.")]
        arguments = []
        for parameter in self._context.command.params:
            name = str(parameter.name)
            value = {"config": file, "run": self.folder}.get(name, self._params[name])
            source = self._context.get_parameter_source(name)
            left_out = name in ("overrides", "more") or value is None
            if left_out or (name not in ("config", "run") and (source is None or source.name == "DEFAULT")):
                continue
            values = list(value) if isinstance(value, list | tuple) else [value]
            if parameter.param_type_name == "argument":
                arguments += [str(one) for one in values]
            elif value is True:
                options.append(max(parameter.opts, key=len))
            else:
                options += [f"{max(parameter.opts, key=len)}={one}" for one in values]
        if any(word.startswith("-") for word in arguments):
            return [*options, "--", *arguments]
        return [*arguments, *options]
