"""What a file may hold, and what is said of one that holds anything else."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdata.definitions import reading
from hotdata.definitions.documents import Document
from hotdata.definitions.reading import DEEPEST, MOST_BYTES, BadDocument, parse

JOB = "version: 1\njobs:\n  j:\n    task: t\n    cron: '* * * * *'\n"


def parsed(text: str) -> Document:
    return parse(textwrap.dedent(text).encode())


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(BadDocument) as refused:
        parse(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
    return refused.value.problems


def test_fields_that_are_left_out_are_as_by_default() -> None:
    fields = parsed(JOB).jobs["j"].fields
    assert (fields["task"], fields["timeout"], fields["params"], fields["coalesce"]) == (
        "t",
        "15 min",
        {},
        True,
    )


def test_values_are_taken_in_the_form_in_which_they_are_written() -> None:
    fields = parsed(JOB + "    timeout: 90\n    run_at: 2026-11-25T17:30:00+08:00\n").jobs["j"].fields
    assert (fields["timeout"], fields["run_at"]) == ("1 min 30 s", "2026-11-25T09:30:00+00:00")


def test_yes_no_and_dates_are_texts_and_names_are_texts_whatever_they_look_like() -> None:
    document = parsed(
        """
        version: 1
        sources:
          s:
            title: no
            query: {on: yes, 1: 1:30, null: 2026-11-25}
            keys: {600519: {}, 007: , true: {}, BRK.B: {}}
        """
    )
    fields = document.sources["s"].fields
    assert fields["title"] == "no"
    assert fields["query"] == {"on": "yes", "1": "1:30", "null": "2026-11-25"}
    assert list(document.sources["s"].keys) == ["600519", "007", "true", "BRK.B"]


def test_empty_sections_are_none() -> None:
    for text in ("version: 1", "version: 1\njobs:\nsources: {}\n"):
        assert (parsed(text).jobs, parsed(text).sources) == ({}, {})


def test_a_mark_of_byte_order_is_no_part_of_the_file() -> None:
    assert parse(b"\xef\xbb\xbfversion: 1\n").jobs == {}


def test_everything_that_is_wrong_is_told_at_once_with_its_line_and_path() -> None:
    assert problems(
        """\
        version: 1
        jobs:
          update_stocks:
            task: refresh_source
            corn: '* * * * *'
            timeout: soon
            paused: true
          other: 5
        sources:
          stock:
            title: 2026
            keys:
              "a/b":
                wieght: 2
        everything: 1
        """
    ) == [
        "line 11: sources.stock.title: must be a text; put it in quotes.",
        "line 14: sources.stock.keys.a/b.wieght: there is no such field. Did you mean weight?",
        "line 13: sources.stock.keys.a/b: A key can't contain '/'.",
        "line 5: jobs.update_stocks.corn: there is no such field. Did you mean cron?",
        "line 6: jobs.update_stocks.timeout: must be a duration such as 90 s, 5 min or 1 h 30 min.",
        "line 7: jobs.update_stocks.paused: this can't be in a file: a pause is of the moment and of one stage: "
        "a definition that is applied neither makes nor ends one.",
        "line 8: jobs.other: this must be a mapping from names.",
        "line 15: everything: there is no such field. There are version, sources, jobs.",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: the file must say `version: 1`."),
        ("jobs: {}", "line 1: the file must say `version: 1`."),
        ("jobs: {}\nversion: 2", "line 2: the file must say `version: 1`."),
        ("version: true", "line 1: the file must say `version: 1`."),
        ("version: '1'", "line 1: the file must say `version: 1`."),
        ("- version", "line 1: the file: this must be a mapping from names."),
        ("version: 1\nversion: 1", "line 2: version: this is there twice; first in line 1."),
        ("version: 1\n[a]: b", "line 2: the file: a name must be a text."),
        ("version: 1\njobs: &a {}\nsources: *a", "line 2: anchors and aliases"),
        ("version: 1\njobs: *a", "line 2: anchors and aliases"),
        ("version: !!int 1", "line 1: tags (!) are not read."),
        ("version: !!python/object/apply:os.system ['id']", "line 1: tags (!) are not read."),
        ("!<tag:yaml.org,2002:map> {version: 1}", "line 1: tags (!) are not read."),
        ("version: 1\n---\nversion: 1", "this is no YAML"),
        ("version: [1", "this is no YAML"),
        ("version: 1\n\tjobs: {}", "this is no YAML"),
        ("version: 1\n<<: {jobs: {}}", "<<: there is no such field."),
        ("version: " + "[" * 200 + "]" * 200, f"nested more than {DEEPEST} levels deep."),
        ("version: " + "[" * 100_000, "nest"),
        (JOB + "    max_retries: " + "9" * 5000, "this number is too large."),
        (JOB + "    max_retries: 1e999", "this number is too large."),
        (JOB + '    title: "a\\0b"', "jobs.j.title: a text can't hold NUL or halves of characters."),
        (JOB + '    params: {"a\\0": 1}', "a text can't hold NUL or halves of characters."),
        (JOB + "    tilte: x\n    tilte: y", "this is there twice"),
        (JOB + "    id: 7", "this can't be in a file: it is about the row"),
        (JOB + "    keys: {a: {}}", "jobs.j.keys: there is no such field."),
        (b"version: 1 # \xff", "The file is not UTF-8."),
        (b"version: 1 # \x01", "This is no YAML"),
        (b"#" * (MOST_BYTES + 1), "The file is larger than 2,000,000 bytes."),
    ],
)
def test_what_is_not_such_a_file_is_refused(text: str | bytes, said: str) -> None:
    assert any(said.lower() in problem.lower() for problem in problems(text)), problems(text)


def test_a_file_that_asks_for_code_runs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr("os.system", ran.append)
    assert problems(JOB + "    params: {a: !!python/object/apply:os.system ['id']}") == [
        "line 6: tags (!) are not read."
    ]
    assert ran == []


def test_what_is_told_does_nothing_to_a_terminal() -> None:
    [problem] = problems('version: 1\n"\\e[2J\\u202e": 1\n')
    assert problem.isprintable()
    assert "\\u001b[2J\\u202e" in problem


def test_of_very_many_problems_the_first_are_told() -> None:
    text = "version: 1\nsources: {s: {" + ", ".join(f"x{number}: 1" for number in range(500)) + "}}"
    told = problems(text)
    assert len(told) == reading.MOST_TOLD + 1
    assert told[-1] == "… and 400 more."


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_whatever_it_is_it_is_read_or_refused(data: bytes) -> None:
    try:
        parse(b"version: 1\njobs:\n " + data)
    except BadDocument as error:
        assert error.problems  # noqa: PT017 - either way is fine
