"""Writes the results of the benchmarks into docs/benchmarks.md."""

import pathlib
import re

DOCUMENT = pathlib.Path("docs/benchmarks.md")


def replace(section, text):
    """Replaces the text between the markers of the section."""
    markers = f"<!-- {section}: written by the script -->\n", f"<!-- end of {section} -->"
    before = DOCUMENT.read_text()
    after, count = re.subn(f"(?s){re.escape(markers[0])}.*?{re.escape(markers[1])}",
                           lambda _: f"{markers[0]}\n{text.strip()}\n\n{markers[1]}", before)
    if count != 1:
        raise ValueError(f"{DOCUMENT} has no markers for {section}")
    DOCUMENT.write_text(after)


def table(head, rows):
    """A Markdown table; the first column is left-aligned."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def plain(head, rows):
    """A table for a terminal."""
    widths = [max(len(str(line[at])) for line in [head, *rows]) for at in range(len(head))]
    return "\n".join("  ".join(str(cell).ljust(width) for cell, width in zip(line, widths)).rstrip()
                     for line in [head, *rows])


def list_facts(facts):
    return "\n".join(f"- {name.capitalize()}: {fact}" for name, fact in facts.items())
