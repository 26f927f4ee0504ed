"""The pages that checks leave: their templates, and the frame and style they share."""

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def template(name: str) -> Template:
    """A template of ``templates``; what it is not given is an error, what it is given is escaped."""
    environment = Environment(
        loader=PackageLoader("expectations"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
