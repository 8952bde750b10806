"""The admin as its users see it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pytest_django.fixtures import Settings

Staff = Callable[..., Client]


@pytest.fixture(autouse=True)
def _static_root(settings: Settings, tmp_path: Path) -> None:
    """WhiteNoise warns of one that doesn't exist, and warnings are errors."""
    settings.STATIC_ROOT = tmp_path


@pytest.fixture
def admin_user(db: None) -> User:
    """A superuser without a password: hashing one takes longer than most tests."""
    return User.objects.create_superuser("root")


@pytest.fixture
def staff(db: None) -> Staff:
    """Makes a client of a member of staff, ada, with the given permissions."""

    def make(*permissions: str, check_csrf: bool = False) -> Client:
        user, _ = User.objects.get_or_create(username="ada", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client(enforce_csrf_checks=check_csrf)
        client.force_login(user)
        return client

    return make
