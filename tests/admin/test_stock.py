from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client

from tests.builders import make_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def models() -> list[type]:
    return list(apps.get_app_config("django_apscheduler").get_models())


def test_the_scheduler_library_has_no_pages_in_the_admin(models: list[type]) -> None:
    assert models
    assert not [model for model in models if admin.site.is_registered(model)]


def test_the_pages_of_the_scheduler_library_are_404(admin_client: Client, models: list[type]) -> None:
    job = make_job()
    for model in models:
        for page in ("", "add/", f"{job.name}/change/", "1/delete/"):
            path = f"/admin/django_apscheduler/{model._meta.model_name}/{page}"
            assert admin_client.get(path).status_code == 404
            assert admin_client.post(path).status_code == 404
    assert admin_client.get("/admin/django_apscheduler/").status_code == 404


def test_the_index_does_not_mention_the_scheduler_library(admin_client: Client) -> None:
    page = admin_client.get("/admin/").content.decode()
    assert "/admin/hotdata/job/" in page
    assert "apscheduler" not in page
