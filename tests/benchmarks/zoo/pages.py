"""Tables in Markdown, and their places in pages of the documentation."""

from collections.abc import Sequence
from pathlib import Path

from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.errors import InputError


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Gives a table whose first column is text and whose others are numbers."""
    marks = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, marks, *rows))


def with_section(page: str, name: str, content: str, *, maker: str = "make zoo") -> str:
    """Puts content between the two comments of a page that name it, in place of what is there.

    The first of them names the command `maker` as well.

    Raises:
        InputError: the page does not have the two comments, once each and in order.
    """
    begin, end = f"<!-- {name}: made by `{maker}` -->", f"<!-- {name}: end -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise InputError(f"the page must have {begin} and, after it, {end}, each once")
    before, after = page.split(begin)[0], page.split(end)[1]
    return f"{before}{begin}\n{content.strip()}\n{end}{after}"


def write_section(
    path: Path, name: str, paragraphs: Sequence[str], *, maker: str = "make zoo"
) -> None:
    """Does what `with_section` does to a file."""
    content = "\n\n".join(paragraphs)
    page = with_section(path.read_text(encoding="utf-8"), name, content, maker=maker)
    with atomic_output(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(f"wrote {name} in {path}", flush=True)


def figure_link(figure: Path, what: str) -> str:
    """Gives the image of a figure in docs/figures/, for a page in docs/."""
    return f"![{what}](figures/{figure.name})"


def measured_on(records: Sequence[dict[str, str]], command: str) -> str:
    """Says on which machine, when and by which command records were made."""
    machines = sorted({record["machine"] for record in records})
    days = sorted({record["date"] for record in records})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"Measured on {' and '.join(machines)}, {when}: `{command}`."
