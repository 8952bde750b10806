"""What no page may do is seen: the tests of pages rely on it, and each page is under the policy."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.browser.axe import axe
from tests.browser.complaints import Complaints

pytestmark = pytest.mark.only_on("sqlite")

ADD = "text => document.body.append(document.createRange().createContextualFragment(text))"


@pytest.fixture(autouse=True)
def _somewhere(page: Page) -> None:
    page.goto("/admin/")


@pytest.mark.parametrize(
    "text",
    [
        "<script>document.title = 'it ran'</script>",
        "<style>body { display: none }</style>",
        "<p style='display: none'>",
        "<img src='/static/admin/img/icon-yes.svg' onload=\"document.title = 'it ran'\">",
        "<script src='https://elsewhere.example/script.js'></script>",
        "<script src='data:text/javascript,document.title = `it ran`'></script>",
        "<img src='https://elsewhere.example/picture.png'>",
        "<iframe src='https://elsewhere.example/'></iframe>",
    ],
)
def test_what_is_against_the_policy_does_nothing_and_is_seen(
    page: Page, complaints: Complaints, text: str
) -> None:
    page.evaluate(ADD, text)
    complaints.expect("violates the following Content Security Policy directive")
    complaints.check()
    assert page.title() != "it ran"
    assert page.locator("body").is_visible()


def test_a_form_sends_nothing_elsewhere(page: Page, complaints: Complaints) -> None:
    page.evaluate(ADD, "<form id='away' action='https://elsewhere.example/'></form>")
    page.evaluate("document.getElementById('away').submit()")
    complaints.expect("\"form-action 'self'\"")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("setTimeout(() => { throw new Error('it broke') })", "script: it broke"),
        ("console.error('an error')", "error: an error"),
        ("console.warn('a warning')", "warning: a warning"),
        ("fetch('/nothing')", "404"),
        ("open('https://elsewhere.example/')", "https://elsewhere.example/"),
    ],
)
def test_what_goes_wrong_is_seen(page: Page, complaints: Complaints, script: str, said: str) -> None:
    page.evaluate(f"() => {{ {script} }}")
    complaints.expect(said)


def test_what_a_screen_reader_can_not_tell_is_seen(page: Page) -> None:
    page.evaluate(ADD, "<button id='mute'></button>")
    with pytest.raises(AssertionError, match=r"button-name .*\n  #mute\n"):
        axe(page, "#mute")
