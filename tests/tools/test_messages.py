"""`make messages`: what it takes for a text, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tools import messages

Write = Callable[[str, str], None]

VIEWS = """
def shown():
    return _("Paused.") + ngettext("%(n)d job", "%(n)d jobs", 2) + pgettext("of a job", "due")
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file of a project of its own, whose catalogue is beside it."""
    monkeypatch.setattr(messages, "ROOT", tmp_path)
    monkeypatch.setattr(messages, "CATALOGUE", tmp_path / "locale" / "django.po")
    monkeypatch.setattr(messages, "COMPILED", tmp_path / "locale" / "django.mo")

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


def catalogue() -> str:
    return messages.CATALOGUE.read_text()


def translate(text: str, translation: str) -> None:
    entry = f'msgid "{text}"\nmsgstr "'
    assert entry + '"' in catalogue()
    messages.CATALOGUE.write_text(catalogue().replace(entry, entry + translation))


def found() -> set[tuple[str | None, object]]:
    return {(text.context, text.id) for text in messages.texts()}


def test_texts_come_from_calls_of_gettext(write: Write) -> None:
    write("hotdata/views.py", VIEWS)
    assert found() == {(None, "Paused."), (None, ("%(n)d job", "%(n)d jobs")), ("of a job", "due")}


def test_texts_come_from_templates_of_any_indentation(write: Write) -> None:
    write(
        "hotdata/templates/hotdata/page.html",
        """
        {% load i18n %}
            <p title="{% translate "Due" context "of a job" %}">“ {{ name|default:_("nobody") }}
          {% blocktranslate trimmed count n=runs %}
            One run of {{ job }}
          {% plural %}
            {{ n }} runs of {{ job }}
          {% endblocktranslate %}
        """,
    )
    assert found() == {
        ("of a job", "Due"),
        (None, "nobody"),
        (None, ("One run of %(job)s", "%(n)s runs of %(job)s")),
    }


def test_what_operators_read_of_tasks_is_a_text(write: Write) -> None:
    write(
        "hotdata/tasks.py",
        '@hotdata.task(name="a")\ndef first(at_most):\n    """Delete what is old.\n\n    More."""\n'
        '@hotdata.fetcher\ndef second(keys):\n    """Fetch it."""\n'
        '@other\ndef third(more):\n    """Not shown."""\n',
    )
    assert found() == {(None, "Delete what is old."), (None, "at most"), (None, "Fetch it.")}


def test_migrations_and_tests_are_left_out(write: Write) -> None:
    write("hotdata/migrations/0001.py", '_("Old")')
    write("tests/test_it.py", '_("Only here")')
    assert found() == set()


def test_what_is_translated_is_kept_and_what_is_gone_is_dropped(write: Write) -> None:
    write("hotdata/a.py", '_("Paused.") + _("Resumed.")')
    assert messages.main([]) == 0
    translate("Paused.", "已暂停。")
    write("hotdata/a.py", '\n\n\n_("Paused.") + _("Resumed!")')
    assert messages.main([]) == 0
    assert "已暂停。" in catalogue()
    assert "Resumed." not in catalogue()
    assert "fuzzy" not in catalogue()
    assert 'msgid "Resumed!"\nmsgstr ""' in catalogue()


def test_code_that_only_moves_changes_nothing(write: Write) -> None:
    write("hotdata/a.py", '_("Paused.") + _("Resumed.")')
    messages.main([])
    before = catalogue(), messages.COMPILED.read_bytes()
    write("hotdata/a.py", '\n\n_("Resumed.")\n\n_("Paused.")')
    messages.main([])
    assert (catalogue(), messages.COMPILED.read_bytes()) == before


def test_a_check_says_what_is_out_of_date_and_changes_nothing(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("hotdata/a.py", '_("Paused.")')
    assert messages.main(["--check"]) == 1
    assert not messages.CATALOGUE.exists()
    assert "locale/django.po is out of date: run `make messages`." in capsys.readouterr().err
    messages.main([])
    assert messages.main(["--check"]) == 0
    translate("Paused.", "已暂停。")
    assert messages.main(["--check"]) == 1  # it is not compiled
    messages.main([])
    assert messages.main(["--check"]) == 0
    assert "已暂停。".encode() in messages.COMPILED.read_bytes()


def test_the_comment_at_the_top_stays(write: Write) -> None:
    write("hotdata/a.py", '_("Paused.")')
    messages.main([])
    messages.CATALOGUE.write_text("# job 作业\n" + catalogue().lstrip())
    messages.main([])
    assert catalogue().startswith("# job 作业\n")
