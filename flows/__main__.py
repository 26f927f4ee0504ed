"""``loyalty``: the command line. Each command is imported when it is called, so that ``--help`` is quick."""

import importlib

import click

COMMANDS = {
    "init": "ledger",
    "import": "feeds",
    "close": "night",
    "up": "services",
    "down": "services",
    "status": "ledger",
    "explain": "explanation",
    "tiers": "tiers",
    "screens": "screens",
    "policy": "policy",
    "adjust": "adjustments",
    "reinstate": "adjustments",
    "undo": "undo",
    "approvals": "approvals",
    "approve": "approvals",
    "balances": "figures",
    "totals": "figures",
    "verify": "figures",
    "check": "checks",
    "findings": "checks",
    "contacts": "contacts",
    "erase-member": "erasure",
    "notices": "notices",
    "backup": "backup",
    "restore": "restore",
    "month": "month",
    "demo": "demo",
}


class Lazy(click.Group):
    """Finds a command in the module that holds it, and imports no other."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which one needs them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import it."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"flows.commands.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, {"import": "import_"}.get(cmd_name, cmd_name.replace("-", "_")))
        return command


@click.group(
    cls=Lazy,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Example, from nothing to a closed month:
  loyalty init --programme docs/examples/harbour-gifts.toml
  loyalty import orders orders.csv.gz
  loyalty close --through 2026-09-30
  loyalty explain H000123
""",
)
@click.version_option(package_name="loyalty-back-office")
def main() -> None:
    """The back office of a loyalty programme: a points ledger that proves itself, and the nights that run on it.

    The ledger lives where LOYALTY_DATABASE_URL says, else in an embedded Postgres under .loyalty/ that starts by itself.
    """


if __name__ == "__main__":
    main(prog_name="loyalty")
