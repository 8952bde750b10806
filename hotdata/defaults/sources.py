"""The default sources: the same four against each upstream, with the limits and rules that fit it.

The public ones are what their vendors document, so far as they do: where the value is in an answer, what tells it
from an error, and how often one address may ask.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hotdata.conf import conf

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=seconds) for seconds in (1, 60, 3600, 86_400))

SYMBOLS = ("AAPL", "GOOGL", "MSFT", "AMZN", "TSLA")
TOPICS = ("general", "technology", "business")
CITIES = {
    "北京": {"latitude": "39.9042", "longitude": "116.4074"},
    "上海": {"latitude": "31.2304", "longitude": "121.4737"},
    "深圳": {"latitude": "22.5431", "longitude": "114.0579"},
    "广州": {"latitude": "23.1291", "longitude": "113.2644"},
    "杭州": {"latitude": "30.2741", "longitude": "120.1551"},
}


@dataclass(frozen=True, kw_only=True)
class DefaultSource:
    """A source, its fields, and its pinned keys with what each is asked for with beside itself."""

    name: str
    base_url: str
    pinned: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)


def demo_sources() -> tuple[DefaultSource, ...]:
    """Against the demo upstream, wherever that is now."""
    base_url = conf().demo_upstream
    return (
        DefaultSource(
            name="stock",
            base_url=base_url,
            pinned={key: {} for key in SYMBOLS},
            fields={
                "title": "Stock quotes",
                "path": "/stocks/{key}",
                "batch_size": 50,
                "batch_path": "/stocks",
                "batch_query": {"symbols": "{keys}"},
                "batch_items": "quotes",
                "batch_key": "symbol",
                "soft_ttl": 300 * SECOND,
                "hard_ttl": DAY,
            },
        ),
        DefaultSource(
            name="news",
            base_url=base_url,
            pinned={key: {} for key in TOPICS},
            fields={"title": "News", "path": "/news/{key}", "soft_ttl": 10 * MINUTE, "hard_ttl": DAY},
        ),
        DefaultSource(
            name="weather",
            base_url=base_url,
            pinned={key: {} for key in CITIES},
            fields={"title": "Weather", "path": "/weather/{key}", "soft_ttl": HOUR, "hard_ttl": DAY},
        ),
        DefaultSource(
            name="forecast",
            base_url=base_url,
            fields={"title": "Forecast", "path": "/forecast/{key}", "soft_ttl": DAY, "hard_ttl": 2 * DAY},
        ),
    )


# Stock quotes. No answer of this API is documented in public, so anything that has a price by one of the usual names
# is a quote, by itself or as `data`. A price of 0 is how such APIs say that they don't know the symbol.
PRICE = "to_number(not_null(price, current_price, current, last_price, last, close, c))"
LEAST_PRICE = 0.0001
STOCKS = {
    "title": "Stock quotes",
    "path": "/quote",
    "query": {"symbol": "{key}"},
    "value": "data || @",
    "value_kind": "object",
    "required": [PRICE],
    "bounds": {PRICE: [LEAST_PRICE, None]},
    "max_bytes": 20_000,
    "calls_per_minute": 30,
    "burst": 5,
    "concurrency": 2,
    "soft_ttl": 5 * MINUTE,
    "refresh_after": MINUTE,
    "hard_ttl": DAY,
}

# https://hn.algolia.com/api. One address may make 10,000 calls an hour; an error is {"message": …, "status": 400}.
NEWS = {
    "title": "Hacker News",
    "path": "/search",
    "query": {"tags": "story", "query": "{key}", "hitsPerPage": "20"},
    "value": "{articles: hits[*].{id: objectID, title: title, url: url, author: author, points: points, "
    "comments: num_comments, published_at: created_at}}",
    "value_kind": "object",
    "required": ["articles[0].title", "articles[0].published_at"],
    "bounds": {"articles[*].points": [0, None]},
    "max_bytes": 50_000,
    "calls_per_minute": 10,
    "burst": 3,
    "concurrency": 2,
    "soft_ttl": 10 * MINUTE,
    "refresh_after": 5 * MINUTE,
    "hard_ttl": DAY,
}

# https://open-meteo.com/en/docs. One address may make 600 calls a minute, 5,000 an hour and 10,000 a day. Of that,
# these two sources plan 80 % of 5 a minute and a hundred hot forecasts an hour: 8,200 a day at most. An error is
# {"error": true, "reason": …} with status 400. Times are in GMT, without saying so, unless a timezone is asked for;
# days need one.
OPEN_METEO = {"latitude": "{latitude}", "longitude": "{longitude}"}
OPEN_METEO_BUDGET = {"calls_per_minute": 5, "burst": 5, "concurrency": 2, "max_bytes": 2_000}
DEGREES, PERCENT, WMO_CODES = [-90, 60], [0, 100], [0, 99]
WEATHER = {
    "title": "Weather",
    "path": "/forecast",
    "query": {**OPEN_METEO, "current": "temperature_2m,relative_humidity_2m,wind_speed_10m,weather_code"},
    "value": "current.{observed_at: join('', [time, 'Z']), temperature: temperature_2m, "
    "humidity: relative_humidity_2m, wind_speed: wind_speed_10m, weather_code: weather_code}",
    "value_kind": "object",
    "required": ["observed_at", "temperature"],
    "bounds": {
        "temperature": DEGREES,
        "humidity": PERCENT,
        "wind_speed": [0, 500],
        "weather_code": WMO_CODES,
    },
    **OPEN_METEO_BUDGET,
    # What is current changes each quarter of an hour.
    "soft_ttl": 15 * MINUTE,
    "refresh_after": 10 * MINUTE,
    "hard_ttl": DAY,
}
FORECAST = {
    "title": "Forecast",
    "path": "/forecast",
    "query": {
        **OPEN_METEO,
        "daily": "weather_code,temperature_2m_max,temperature_2m_min,precipitation_probability_max",
        "timezone": "auto",
        "start_date": "{date}",
        "end_date": "{date}",
    },
    "value": "daily.{date: time[0], low: temperature_2m_min[0], high: temperature_2m_max[0], "
    "precipitation_probability: precipitation_probability_max[0], weather_code: weather_code[0]}",
    "value_kind": "object",
    # A day beyond the forecast may have an answer, but no temperatures.
    "required": ["date", "low", "high"],
    "bounds": {
        "low": DEGREES,
        "high": DEGREES,
        "precipitation_probability": PERCENT,
        "weather_code": WMO_CODES,
    },
    **OPEN_METEO_BUDGET,
    "soft_ttl": 3 * HOUR,
    "refresh_after": HOUR,
    "hard_ttl": 2 * DAY,
}


def public_sources() -> tuple[DefaultSource, ...]:
    """Against public APIs. Stock quotes are asked for with a key if the environment has one now."""
    return (
        DefaultSource(
            name="stock",
            base_url="https://stock-api.kuaiyizhi.cn",
            pinned={key: {} for key in SYMBOLS},
            fields={**STOCKS, "secret_headers": _header_if_set("X-API-Key", conf().secret_prefix + "STOCKS")},
        ),
        DefaultSource(
            name="news",
            base_url="https://hn.algolia.com/api/v1",
            pinned={key: {} for key in TOPICS},
            fields=NEWS,
        ),
        DefaultSource(
            name="weather", base_url="https://api.open-meteo.com/v1", pinned=CITIES, fields=WEATHER
        ),
        DefaultSource(name="forecast", base_url="https://api.open-meteo.com/v1", fields=FORECAST),
    )


def _header_if_set(header: str, variable: str) -> dict[str, str]:
    return {header: variable} if os.environ.get(variable) else {}


DEMO, PUBLIC = "demo", "public"
UPSTREAMS: Mapping[str, Callable[[], tuple[DefaultSource, ...]]] = {
    DEMO: demo_sources,
    PUBLIC: public_sources,
}
"""By name, the default sources against each upstream. All have the same names, in the same order."""
