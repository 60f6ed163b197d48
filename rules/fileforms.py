"""The shape of the operator's file as a whole, above its services (forms.py), and of a client's own file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag, WithJsonSchema, model_validator

from .forms import Form, ServiceForm, exactly_one
from .formtypes import SHA256, WORDS_SCHEMA, Name, Store, Text, Words, one_or_more


class TokenForm(Form):
    """A client in the list: its token from a variable or file, or the SHA-256 of it."""

    name: Name
    env: Text | None = None
    file: Text | None = None
    sha256: Annotated[str, StringConstraints(pattern=SHA256)] | None = None
    user: Text | None = None
    tier: Text | None = None
    may_set: Annotated[
        list[Literal["user", "tier", "priority"]], BeforeValidator(one_or_more), WithJsonSchema(WORDS_SCHEMA)
    ] = Field(default=[])

    @model_validator(mode="after")
    def _one_source(self) -> TokenForm:
        exactly_one(self, ("env", "file", "sha256"))
        return self


class TokenFileForm(Form):
    """A client's own file in `tokens: {dir}`; the file's name is the client's."""

    token: Text | None = None
    sha256: Annotated[str, StringConstraints(pattern=SHA256)] | None = None
    user: Text | None = None
    tier: Text | None = None
    may_set: Annotated[list[Literal["user", "tier", "priority"]], BeforeValidator(one_or_more)] = Field(default=[])

    @model_validator(mode="after")
    def _one_source(self) -> TokenFileForm:
        exactly_one(self, ("token", "sha256"))
        return self


class TokenDirForm(Form):
    """One file a client."""

    dir: Text


class ClientsForm(Form):
    """Who may call (design 4.1)."""

    anonymous: Literal["loopback", "everyone", "nobody"] = "loopback"
    tokens: (
        Annotated[
            Annotated[TokenDirForm, Tag("mapping")] | Annotated[list[TokenForm], Tag("list")],
            Discriminator(lambda value: "list" if isinstance(value, list) else "mapping"),
        ]
        | None
    ) = None


class TierForm(Form):
    """A class of users and its share."""

    weight: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]


class LogForm(Form):
    """How lines are written; auto: for people on a terminal, JSON elsewhere."""

    format: Literal["auto", "json", "console"] = "auto"


class RangeForm(Form):
    """An inside address range that may be dialled, on one port."""

    range: Text
    port: Annotated[int, Field(ge=1, le=65535)]


class EgressForm(Form):
    """What may be reached outside the catalogue."""

    allow: Words | None = None
    ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(default=[80, 443])
    addresses: list[RangeForm] = Field(default=[])


class FileForm(Form):
    """The operator's file."""

    store: Store | None = None
    clients: ClientsForm = ClientsForm()
    tiers: dict[Name, TierForm] = Field(default={})
    services: dict[Name, ServiceForm] = Field(default={})
    log: LogForm = LogForm()
    egress: EgressForm = EgressForm()
