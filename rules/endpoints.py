"""The endpoints of a service: the catalogue's with the operator's wishes laid over them, in order of match.

Law: the last one matches everything, whoever wrote the list, so no call of a service goes uncounted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType

from .catalogue import Layer
from .forms import EndpointForm
from .limits import Written
from .mistakes import did_you_mean
from .policy import Endpoint, Limit

REST = "/**"
Compile = Callable[[Sequence[Written], str], tuple[Limit, ...]]


def endpoints_of(
    own: Layer | None, base: Layer | None, shared: dict[str, tuple[Limit, ...]], compile_limits: Compile
) -> tuple[Endpoint, ...]:
    """`shared`: limits that an endpoint has through a part, by endpoint name."""
    forms: dict[str, tuple[EndpointForm, Layer]] = {}
    known = base.form.endpoints if base is not None else {}
    for name, form in (own.form.endpoints if own is not None else {}).items():
        assert own is not None
        if name not in known:
            if form.path is None:
                at = (*own.loc, "endpoints", name)
                own.ground.wrong(
                    at, f"is no endpoint of the catalogue{did_you_mean(name, known)}; a new one needs a path"
                )
                continue
            forms[name] = (form, own)  # before the catalogue's, whose last matches everything
    for name, form in known.items():
        assert base is not None
        if form.path is None:
            base.ground.wrong((*base.loc, "endpoints", name), "needs path")
            continue
        wish = own.form.endpoints.get(name) if own is not None else None
        if wish is None or own is None:
            forms[name] = (form, base)
        else:
            changed = {field: getattr(wish, field) for field in wish.model_fields_set}
            forms[name] = (form.model_copy(update=changed), own if "limits" in changed else base)
    found = []
    for name, (form, layer) in forms.items():
        at = (*layer.loc, "endpoints", name, "limits")
        written = [Written(limit, layer.ground, (*at, index)) for index, limit in enumerate(form.limits)]
        found.append(
            Endpoint(
                name=name,
                path=form.path or REST,
                methods=tuple(form.methods),
                body=form.body,
                costs=MappingProxyType({str(meter): cost for meter, cost in form.costs.items()}),
                limits=(*compile_limits(written, f"endpoint {name}"), *shared.get(name, ())),
                service_limits=form.service_limits,
            )
        )
    if not found or found[-1].path != REST or found[-1].methods:
        found.append(Endpoint(name="other", path=REST))
    return tuple(found)
