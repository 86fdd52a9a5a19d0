"""The parts of BENCHMARKS.md that are written by the benchmarks."""

import pathlib
import re

DOCUMENT = pathlib.Path("BENCHMARKS.md")


def replace(part, text):
    """Puts the text between the marks of the part."""
    marks = f"<!-- {part}: written by the script -->\n", f"<!-- end of {part} -->"
    before = DOCUMENT.read_text()
    after, count = re.subn(f"(?s){re.escape(marks[0])}.*?{re.escape(marks[1])}",
                           lambda _: f"{marks[0]}\n{text.strip()}\n\n{marks[1]}", before)
    if count != 1:
        raise ValueError(f"{DOCUMENT} has no place for {part}")
    DOCUMENT.write_text(after)


def table(head, rows):
    """A table of Markdown, its first column to the left."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def plain(head, rows):
    """The same for a terminal."""
    widths = [max(len(str(line[at])) for line in [head, *rows]) for at in range(len(head))]
    return "\n".join("  ".join(str(cell).ljust(width) for cell, width in zip(line, widths)).rstrip()
                     for line in [head, *rows])


def of_machine(facts):
    return "\n".join(f"- {name.capitalize()}: {fact}" for name, fact in facts.items())
