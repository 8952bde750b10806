"""Brings the catalogue of translations up to date with the texts in the code, and compiles it.

Takes the texts from the Python files and templates of the app and the site, keeps what is translated, drops what is no
longer in the code, and guesses nothing. The same texts give the same files, byte for byte: no dates, no line numbers.

Usage: python -m tools.messages [--check]
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parent.parent
LANGUAGE = "zh_Hans"
CATALOGUE = ROOT / "hotdata" / "locale" / LANGUAGE / "LC_MESSAGES" / "django.po"
COMPILED = CATALOGUE.with_suffix(".mo")
SEARCHED = ("hotdata", "project")
TEMPLATES = (".html", ".txt")
# Which arguments are texts; (n, "c") is a context.
KEYWORDS: dict[str, tuple[int | tuple[int, str], ...] | None] = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
FOR_TRANSLATORS = ("Translators",)
REGISTERING = {"task", "fetcher"}
KEPT_HEADERS = {"Language", "Plural-Forms", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"}


class Timeless(Catalog):
    """A catalogue whose header says nothing that changes by itself: no date, and no version of Babel."""

    def _kept_headers(self) -> list[tuple[str, str]]:
        return [(name, text) for name, text in self._get_mime_headers() if name in KEPT_HEADERS]

    mime_headers = property(_kept_headers, Catalog._set_mime_headers)


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text to translate, as one place in the code has it; ``id`` is a pair where it has a plural."""

    id: str | tuple[str, str]
    context: str | None
    file: str
    comments: tuple[str, ...]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.messages", description="Update and compile the catalogue of translations."
    )
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something would change")
    check = parser.parse_args(arguments).check
    catalogue = updated(read())
    wanted = {CATALOGUE: po(catalogue), COMPILED: mo(catalogue)}
    outdated = [path for path, content in wanted.items() if not is_there(path, content)]
    if check:
        for path in outdated:
            print(f"{path.relative_to(ROOT)} is out of date: run `make messages`.", file=sys.stderr)
        return 1 if outdated else 0
    for path in outdated:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wanted[path])
        print(f"{path.relative_to(ROOT)} is updated.")
    missing = untranslated(catalogue)
    print(f"{len(catalogue)} texts, {len(missing)} of them not translated.")
    return 0


def read() -> Catalog:
    """The catalogue as it is on disk; an empty one where there is none."""
    if not CATALOGUE.is_file():
        return Catalog(locale=LANGUAGE, header_comment="")
    with CATALOGUE.open("rb") as file:
        return read_po(file, locale=LANGUAGE, abort_invalid=True)


def updated(known: Catalog) -> Timeless:
    """The texts of the code, each with its translation in `known`, if it has one there."""
    catalogue = Timeless(locale=LANGUAGE, header_comment=known.header_comment, fuzzy=False)
    for text in texts():
        there = known.get(text.id, text.context)
        kept = there if there is not None and there.id == text.id else None
        catalogue.add(
            text.id,
            kept.string if kept else None,
            locations=[(text.file, 0)],
            flags=kept.flags & {"fuzzy"} if kept else (),
            auto_comments=text.comments,
            user_comments=kept.user_comments if kept else (),
            context=text.context,
        )
    return catalogue


def untranslated(catalogue: Catalog) -> list[Message]:
    """The messages that have no translation, or one that somebody should look at."""
    return [message for message in catalogue if message.id and (message.fuzzy or not _is_whole(message))]


def _is_whole(message: Message) -> bool:
    strings = message.string if isinstance(message.string, list | tuple) else [message.string]
    return all(strings)


def po(catalogue: Catalog) -> bytes:
    """The catalogue as people edit it: sorted by text, with the files in which each stands."""
    buffer = io.BytesIO()
    write_po(buffer, catalogue, width=0, sort_output=True, include_lineno=False, ignore_obsolete=True)
    return buffer.getvalue().rstrip() + b"\n"


def mo(catalogue: Catalog) -> bytes:
    """The catalogue as programs read it."""
    buffer = io.BytesIO()
    write_mo(buffer, catalogue)
    return buffer.getvalue()


def is_there(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


# What is to be translated


def texts() -> Iterator[Text]:
    """Every text of the app and the site, once for each place, in the order of the files."""
    for path in _files():
        file = path.relative_to(ROOT).as_posix()
        source = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            yield from _marked(source, file)
            yield from _described(source, file)
        else:
            # Its indentation is that of the template, which is none to Python.
            code = "\n".join(line.lstrip() for line in templatize(source, origin=file).splitlines())
            yield from _marked(code, file)


def _files() -> Iterator[Path]:
    for place in SEARCHED:
        for path in sorted((ROOT / place).rglob("*")):
            parts = path.relative_to(ROOT).parts
            if "migrations" in parts:
                continue
            if path.suffix == ".py" or (path.suffix in TEMPLATES and "templates" in parts):
                yield path


def _marked(code: str, file: str) -> Iterator[Text]:
    """The arguments of gettext and its kin."""
    found = extract("python", io.BytesIO(code.encode()), KEYWORDS, FOR_TRANSLATORS, {"encoding": "utf-8"})
    for _line, id, comments, context in found:
        yield Text(id=id, context=context, file=file, comments=tuple(comments))


def _described(code: str, file: str) -> Iterator[Text]:
    """What operators read of tasks and fetchers: the first lines of their docstrings, and the tasks' parameters."""
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.FunctionDef):
            continue
        names = {
            getattr(each, "attr", getattr(each, "id", ""))
            for decorator in node.decorator_list
            for each in [decorator.func if isinstance(decorator, ast.Call) else decorator]
        }
        line = (ast.get_docstring(node) or "").partition("\n")[0].strip()
        if line and names & REGISTERING:
            yield Text(id=line, context=None, file=file, comments=("What a task does, in a list of all.",))
        if "task" in names:
            for param in [*node.args.args, *node.args.kwonlyargs]:
                name = param.arg.replace("_", " ")
                yield Text(id=name, context=None, file=file, comments=("A parameter of a task.",))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
