"""`headgate VERB`: one small file per verb, imported when the verb is called (operators 2.1: `--help` stays fast)."""

from __future__ import annotations

import importlib

import click

# verb -> (module, one line for --help); the module holds `command`
_VERBS = {
    "serve": "start the proxy",
    "check": "read a configuration and say everything that is wrong with it",
    "explain": "say what would happen to a call, and why",
    "keys": "list the pools' keys with their states, turn one off or on",
    "env": "print the variables a worker exports",
    "run": "start a command with those variables set",
    "ca": "show or export the certificate workers must trust",
    "config": "show the configuration schema",
    "healthcheck": "ask a running Headgate whether it is ready",
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _VERBS:
            return None
        command: click.Command = importlib.import_module(f"proxy.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headgate", message="headgate %(version)s")
def main() -> None:
    """One outbound proxy between your workers and the APIs they call: counted, keyed, paced, fair."""
