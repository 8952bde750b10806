"""The demo: a local upstream to try hotdata against, without an account at anybody's API."""

from __future__ import annotations

from django.apps import AppConfig


class DemoConfig(AppConfig):
    name = "project.demo"
    label = "demo"
    verbose_name = "Demo upstream"
