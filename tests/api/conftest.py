from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pytest_django.fixtures import Settings


@pytest.fixture(autouse=True)
def _static_root(settings: Settings, tmp_path: Path) -> None:
    """WhiteNoise warns of one that doesn't exist, and warnings are errors."""
    settings.STATIC_ROOT = tmp_path


@pytest.fixture
def admin_user(db: None) -> User:
    """A superuser without a password: hashing one takes longer than most tests."""
    return User.objects.create_superuser("root")


LoggedIn = Callable[..., Client]


@pytest.fixture
def logged_in(db: None) -> LoggedIn:
    """Makes a client of a user with the given permissions."""

    def make(*permissions: str, is_staff: bool = True, check_csrf: bool = False) -> Client:
        user = User.objects.create_user("ada", is_staff=is_staff)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client(enforce_csrf_checks=check_csrf)
        client.force_login(user)
        return client

    return make
