"""The catalogue: one YAML file a service, its name the file's. A new service is one file, no code.

A later file of the same name replaces the earlier one whole: an operator's `services/openai.yaml` stands in for ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from .checking import checked
from .forms import ServiceForm
from .ground import Findings, Ground, Loc
from .mistakes import ConfigInvalid, Mistake
from .spellings import is_name
from .yamlmarks import compose


@dataclass(frozen=True, slots=True)
class Layer:
    """A service as one file tells it, and where it stands there."""

    form: ServiceForm
    ground: Ground
    loc: Loc = ()

    def says(self, field: str) -> bool:
        return field in self.form.model_fields_set


def read_catalogue(texts: Mapping[str, str], findings: Findings) -> dict[str, Layer]:
    """File name -> text, in order, to service name -> its layer. Mistakes go to the findings."""
    entries: dict[str, Layer] = {}
    for filename, text in texts.items():
        name = PurePath(filename).stem
        if not is_name(name):
            findings.mistakes.append(Mistake(filename, 1, 1, "", "the file's name is no service name"))
            continue
        try:
            root = compose(text, filename, findings.mistakes)
        except ConfigInvalid as error:
            findings.mistakes.extend(error.errors)
            continue
        ground = Ground(filename, root, findings)
        form, lost = checked(ServiceForm, ground)
        if form is None or lost:
            continue
        if not form.hosts:
            ground.wrong((), "needs hosts")
            continue
        entries[name] = Layer(form, ground)
    return entries
