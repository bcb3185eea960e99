"""Facts about the libraries that programs declare their options and configurations with."""

from __future__ import annotations

from regcheck.torch_api.arguments import BY_KEYWORD, Argument

PARSERS = frozenset(
    "argparse.ArgumentParser configargparse.ArgumentParser configargparse.ArgParser jsonargparse.ArgumentParser"
    " optparse.OptionParser".split()
)
"""The classes of parsers: `add_argument` (in optparse `add_option`) declares an option."""
ADDING = frozenset(("add_argument", "add_option"))
SHARING = frozenset(
    "add_argument_group add_mutually_exclusive_group add_option_group add_subparsers add_parser".split()
)
"""The methods of a parser that return another one, whose options are parsed into the same object."""
PARSING = {"parse_args": 1, "parse_known_args": 2, "parse_intermixed_args": 1, "parse_known_intermixed_args": 2}
"""The methods of a parser that parse, with the number of values that they return."""
NO_OPTIONS = frozenset(("help", "version"))
"""The actions of arguments that set no attribute."""
FLAGS = {"store_true": False, "store_false": True, "count": 0}
"""The actions whose options have a default of their own."""

DECLARATIONS = {
    "dataclasses.field": Argument(BY_KEYWORD, "default"),
    "attr.ib": Argument(0, "default"),
    "attr.attrib": Argument(0, "default"),
    "attr.field": Argument(BY_KEYWORD, "default"),
    "attrs.field": Argument(BY_KEYWORD, "default"),
    "pydantic.Field": Argument(0, "default"),
    "pydantic.dataclasses.Field": Argument(0, "default"),
    "typer.Option": Argument(0, "default"),
    "typer.Argument": Argument(0, "default"),
    "click.option": Argument(BY_KEYWORD, "default"),
    "click.argument": Argument(BY_KEYWORD, "default"),
}
"""The calls that declare a field or a parameter, with the argument that is its default."""
FACTORIES = ("default_factory", "factory")
"""The arguments of declarations that are functions without parameters and return the default."""
COPYING = frozenset(("replace", "_replace", "evolve", "model_copy"))
"""The functions and methods that copy a configuration and give some of its fields other values."""
COPIES = frozenset(("copy.replace", "dataclasses.replace", "attr.evolve", "attrs.evolve"))
AS_DICT = frozenset(("builtins.vars", "dataclasses.asdict", "attr.asdict", "attrs.asdict"))
"""Functions that return the attributes of an object as a dict."""
DECORATORS = frozenset(("click.option", "click.argument"))
"""The declarations that decorate the function whose parameter they declare."""

NAMESPACES = frozenset(
    "argparse.Namespace types.SimpleNamespace easydict.EasyDict ml_collections.ConfigDict addict.Dict munch.Munch"
    " munch.munchify omegaconf.OmegaConf.create box.Box".split()
)
"""Classes and functions whose objects have their keyword arguments, or the entries of a dict, as attributes."""
SAVING_PARAMETERS = "save_hyperparameters"
"""The method of a Lightning module that copies its constructor's arguments into its attribute `hparams`."""
ENVIRONMENT = frozenset(("os.environ.get", "os.getenv", "os.environ.setdefault"))
ENTRY_POINTS = frozenset(("fire.Fire", "typer.run", "jsonargparse.CLI", "tyro.cli"))
"""Functions that call their first argument with options of the command line."""
KNOWN = PARSERS | DECLARATIONS.keys() | COPIES | AS_DICT | NAMESPACES | ENVIRONMENT | ENTRY_POINTS
"""All functions and classes above."""


def attribute_of(names: list[str]) -> str:
    """The attribute, or the parameter, that an option with these names sets: `weight_decay` for `--weight-decay`."""
    plain = [each for each in names if not each.startswith("-")]
    long = [each for each in names if each.startswith("--")]
    first = (plain or long or names)[0]
    return first.partition("/")[0].lstrip("-").replace("-", "_")
