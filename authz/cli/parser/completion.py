"""The arguments of the verb completion."""

from typing import TYPE_CHECKING, Final

from authz.cli.parser.adding import add_verb, end_help

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs

SHELLS: Final = ("bash", "zsh", "fish")


def add_completion(verbs: "Verbs") -> None:
    """Add the verb completion."""
    completion = add_verb(
        verbs,
        "completion",
        "completion",
        "print a script that has a shell complete this command",
        "Print a script that has a shell complete this command: verbs, flags, files, and names in "
        "the config, such as routes and agents.",
    )
    end_help(
        completion,
        "source <(authz completion bash)    # in ~/.bashrc",
        "source <(authz completion zsh)     # in ~/.zshrc, after compinit",
        "authz completion fish | source     # in ~/.config/fish/config.fish",
        status="0 it was printed, 2 usage",
    )
    completion.add_argument("shell", metavar="SHELL", choices=SHELLS, help="bash, zsh or fish")
