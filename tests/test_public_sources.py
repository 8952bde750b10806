"""The default sources against public APIs, refreshed from a server that answers as the APIs' documentation says."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from pytest_django import Settings

from hotdata.defaults.sources import UPSTREAMS, DefaultSource, public_sources
from hotdata.freshness import entries
from hotdata.freshness.outcomes import Refreshed, RefreshFailed
from hotdata.freshness.refresh import refresh
from hotdata.models import Key, Source
from tests.builders import store
from tests.freshness.conftest import close_upstreams
from tests.freshness.hostile import HostileUpstream, whole

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

BEIJING = {"latitude": "39.9042", "longitude": "116.4074"}
TOMORROW = "北京:2026-11-26"
PLACES = {TOMORROW: BEIJING | {"date": "2026-11-26"}}
KEYS = {"stock": "AAPL", "news": "technology", "weather": "北京", "forecast": TOMORROW}

GRID = {
    "latitude": 39.875,
    "longitude": 116.375,
    "generationtime_ms": 0.0479,
    "utc_offset_seconds": 0,
    "timezone": "GMT",
    "timezone_abbreviation": "GMT",
    "elevation": 47.0,
}
WEATHER = GRID | {
    "current_units": {
        "time": "iso8601",
        "interval": "seconds",
        "temperature_2m": "°C",
        "relative_humidity_2m": "%",
        "wind_speed_10m": "km/h",
        "weather_code": "wmo code",
    },
    "current": {
        "time": "2026-11-25T06:45",
        "interval": 900,
        "temperature_2m": -3.4,
        "relative_humidity_2m": 41,
        "wind_speed_10m": 7.9,
        "weather_code": 3,
    },
}
FORECAST = GRID | {
    "utc_offset_seconds": 28800,
    "timezone": "Asia/Shanghai",
    "daily_units": {
        "time": "iso8601",
        "weather_code": "wmo code",
        "temperature_2m_max": "°C",
        "temperature_2m_min": "°C",
        "precipitation_probability_max": "%",
    },
    "daily": {
        "time": ["2026-11-26"],
        "weather_code": [71],
        "temperature_2m_max": [1.2],
        "temperature_2m_min": [-6.8],
        "precipitation_probability_max": [35],
    },
}
STORY = {
    "_highlightResult": {"title": {"matchLevel": "none", "matchedWords": [], "value": "A title"}},
    "_tags": ["story", "author_pg", "story_1"],
    "author": "pg",
    "children": [15],
    "created_at": "2006-10-09T18:21:51Z",
    "created_at_i": 1160418111,
    "num_comments": 15,
    "objectID": "1",
    "points": 57,
    "story_id": 1,
    "title": "A title",
    "updated_at": "2024-09-19T19:00:01Z",
    "url": "https://example.com/",
}
ASK = {name: value for name, value in STORY.items() if name != "url"} | {"objectID": "2", "title": "Ask HN"}
NEWS = {
    "exhaustiveNbHits": False,
    "hits": [STORY, ASK],
    "hitsPerPage": 20,
    "nbHits": 2,
    "nbPages": 1,
    "page": 0,
    "params": "query=technology&tags=story&hitsPerPage=20&advancedSyntax=true",
    "processingTimeMS": 4,
    "query": "technology",
}
QUOTE = {"symbol": "AAPL", "price": 231.4, "change": -1.2}

GOOD: Mapping[str, tuple[Any, Any]] = {
    "weather": (
        WEATHER,
        {
            "observed_at": "2026-11-25T06:45Z",
            "temperature": -3.4,
            "humidity": 41,
            "wind_speed": 7.9,
            "weather_code": 3,
        },
    ),
    "forecast": (
        FORECAST,
        {
            "date": "2026-11-26",
            "low": -6.8,
            "high": 1.2,
            "precipitation_probability": 35,
            "weather_code": 71,
        },
    ),
    "news": (
        NEWS,
        {
            "articles": [
                {
                    "id": "1",
                    "title": "A title",
                    "url": "https://example.com/",
                    "author": "pg",
                    "points": 57,
                    "comments": 15,
                    "published_at": "2006-10-09T18:21:51Z",
                },
                {
                    "id": "2",
                    "title": "Ask HN",
                    "url": None,
                    "author": "pg",
                    "points": 57,
                    "comments": 15,
                    "published_at": "2006-10-09T18:21:51Z",
                },
            ]
        },
    ),
    "stock": (QUOTE, QUOTE),
}
"""By source, an answer and what is kept of it."""

ASKED = {
    "weather": (
        "/forecast",
        BEIJING | {"current": "temperature_2m,relative_humidity_2m,wind_speed_10m,weather_code"},
    ),
    "forecast": (
        "/forecast",
        BEIJING
        | {
            "daily": "weather_code,temperature_2m_max,temperature_2m_min,precipitation_probability_max",
            "timezone": "auto",
            "start_date": "2026-11-26",
            "end_date": "2026-11-26",
        },
    ),
    "news": ("/search", {"tags": "story", "query": "technology", "hitsPerPage": "20"}),
    "stock": ("/quote", {"symbol": "AAPL"}),
}


def public(name: str) -> DefaultSource:
    return next(default for default in public_sources() if default.name == name)


def made(default: DefaultSource) -> Source:
    """The source, checked and saved, with its keys checked, too."""
    source = Source(name=default.name)
    source.define(base_url=default.base_url, **default.fields)
    source.full_clean()
    source.save()
    for key, placeholders in default.pinned.items():
        pinned = Key(source=source, key=key, placeholders=placeholders)
        pinned.full_clean()
        pinned.save()
    return source


@contextmanager
def answering(settings: Settings, answer: Any, status: str = "200 OK") -> Iterator[HostileUpstream]:
    """An upstream that answers everything with `answer`; sources may ask it."""

    def behaviour(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
        peer.sendall(whole(msgspec.json.encode(answer), status=status))
        return True

    with HostileUpstream(behaviours=dict.fromkeys(("forecast", "search", "quote"), behaviour)) as upstream:
        settings.HOTDATA_ALLOW_PRIVATE = [upstream.address]
        yield upstream
        close_upstreams()


def refreshed(name: str, upstream: HostileUpstream) -> Refreshed:
    return refresh(made(replace(public(name), base_url=upstream.url(""))), [KEYS[name]], placeholders=PLACES)


def refusal(name: str, upstream: HostileUpstream) -> str:
    """Why the answer is not taken."""
    with pytest.raises(RefreshFailed) as refused:
        refreshed(name, upstream)
    return refused.value.result.failed[KEYS[name]]


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_every_upstream_has_the_same_four_sources(upstream: str) -> None:
    assert [default.name for default in UPSTREAMS[upstream]()] == ["stock", "news", "weather", "forecast"]


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("secret", ["", "a-key"])
def test_a_public_source_is_one_that_an_operator_could_save(
    monkeypatch: pytest.MonkeyPatch, name: str, secret: str
) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_STOCKS", secret)
    source = made(public(name))
    assert source.base_url.startswith("https://")
    assert source.build_rules().required


@pytest.mark.parametrize("name", KEYS)
def test_an_answer_as_it_is_documented_becomes_the_value(settings: Settings, name: str) -> None:
    answer, value = GOOD[name]
    with answering(settings, answer) as upstream:
        assert refreshed(name, upstream).refreshed == 1
        asked = urlsplit(upstream.requests[0].split(" ", 2)[1])
    stored = entries.read(name, KEYS[name])
    assert stored is not None
    assert stored.value == value
    path, query = ASKED[name]
    assert (asked.path, {name: texts[0] for name, texts in parse_qs(asked.query).items()}) == (path, query)


def test_the_weather_of_all_cities_is_fetched_at_once_within_the_budget(settings: Settings) -> None:
    with answering(settings, WEATHER) as upstream:
        source = made(replace(public("weather"), base_url=upstream.url("")))
        assert refresh(source, source.pinned_keys()).refreshed == 5


def test_a_forecast_that_nobody_said_the_place_of_is_not_asked_for(settings: Settings) -> None:
    with answering(settings, FORECAST) as upstream:
        source = made(replace(public("forecast"), base_url=upstream.url("")))
        with pytest.raises(RefreshFailed, match=r"This key brings nothing for \{latitude\}"):
            refresh(source, [TOMORROW])
        assert upstream.requests == []


@pytest.mark.parametrize("answer", [QUOTE, {"code": 0, "data": QUOTE}, {"data": {"current": "231.40"}}])
def test_a_quote_may_be_the_answer_or_its_data(settings: Settings, answer: dict[str, Any]) -> None:
    with answering(settings, answer) as upstream:
        assert refreshed("stock", upstream).refreshed == 1
    stored = entries.read("stock", "AAPL")
    assert stored is not None
    assert stored.value == answer.get("data", answer)


def test_a_key_for_stock_quotes_is_sent_as_a_header(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_STOCKS", "the-key-of-the-test")
    with answering(settings, QUOTE) as upstream:
        refreshed("stock", upstream)
    assert "\r\nX-API-Key: the-key-of-the-test\r\n" in upstream.requests[0]


OPEN_METEO_ERROR = {"error": True, "reason": "Latitude must be in range of -90 to 90°. Given: 399.0."}
OUT_OF_RANGE = FORECAST | {"daily": {name: [None] for name in FORECAST["daily"]} | {"time": ["2026-11-26"]}}
BAD = [
    ("weather", OPEN_METEO_ERROR, "has nothing at"),
    ("weather", GRID, "has nothing at"),
    ("weather", GRID | {"current": {}}, "doesn't fit"),
    (
        "weather",
        GRID | {"current": WEATHER["current"] | {"temperature_2m": None}},
        "nothing at 'temperature'",
    ),
    ("weather", GRID | {"current": WEATHER["current"] | {"temperature_2m": 999}}, "not at most 60"),
    ("forecast", OPEN_METEO_ERROR, "has nothing at"),
    ("forecast", OUT_OF_RANGE, "nothing at 'low'"),
    ("news", NEWS | {"hits": []}, "nothing at 'articles[0].title'"),
    ("news", {"message": "hitsPerPage is too large", "status": 400}, "nothing at 'articles[0].title'"),
    ("stock", {"error": "unknown symbol"}, "where something is required"),
    ("stock", {"code": 404, "message": "unknown symbol", "data": None}, "where something is required"),
    ("stock", {"symbol": "AAPL", "price": 0}, "not at least"),
    ("stock", {"symbol": "AAPL", "price": "N/A"}, "where something is required"),
    ("stock", [QUOTE], "not of the kind object"),
]


@pytest.mark.parametrize(("name", "answer", "why"), BAD)
def test_an_answer_without_what_is_promised_leaves_the_good_value(
    settings: Settings, name: str, answer: Any, why: str
) -> None:
    store(name, KEYS[name], "good", age=10)
    with answering(settings, answer) as upstream:
        said = refusal(name, upstream)
    assert said.startswith("UpstreamPayload: ")
    assert why in said
    stored = entries.read(name, KEYS[name])
    assert stored is not None
    assert stored.value == "good"


@pytest.mark.parametrize(
    ("name", "status", "answer"),
    [
        ("weather", "400 Bad Request", OPEN_METEO_ERROR),
        (
            "forecast",
            "400 Bad Request",
            {"error": True, "reason": "Parameter 'start_date' is out of allowed range"},
        ),
        ("forecast", "429 Too Many", {"error": True, "reason": "Daily API request limit exceeded."}),
        ("news", "400 Bad Request", {"message": "hitsPerPage is too large", "status": 400}),
        ("stock", "401 Unauthorized", {"error": "a key is needed"}),
    ],
)
def test_an_error_as_it_is_documented_leaves_the_good_value(
    settings: Settings, name: str, status: str, answer: dict[str, Any]
) -> None:
    store(name, KEYS[name], "good", age=10)
    with answering(settings, answer, status) as upstream:
        assert refusal(name, upstream) == f"UpstreamStatus: The upstream answered {status[:3]}."
    stored = entries.read(name, KEYS[name])
    assert stored is not None
    assert stored.value == "good"
