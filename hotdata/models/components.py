"""Components: what hot data depends on, the state in which each was seen last, and how that changed."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class Health(models.TextChoices):
    """``degraded``: it works, but somebody should look."""

    OK = "ok", pgettext_lazy("health", "OK")
    DEGRADED = "degraded", _("Degraded")
    DOWN = "down", _("Down")


class Component(models.Model):
    """One component, as the latest check saw it.

    Named ``database``, ``redis``, ``migrations``, ``scheduler``, ``jobs`` and ``source:NAME``.
    """

    name = models.CharField(_("name"), max_length=120, unique=True)
    state = models.CharField(_("state"), max_length=20, choices=Health)
    detail = models.TextField(_("detail"), blank=True)
    since = models.DateTimeField(_("since"), help_text=_("When it came into this state."))
    checked_at = models.DateTimeField(_("checked at"))

    class Meta:
        verbose_name = _("component")
        verbose_name_plural = _("components")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=["ok", "degraded", "down"]), name="component_state_known"
            )
        ]

    def __str__(self) -> str:
        return self.name


class ComponentChange(models.Model):
    """One change of a component's state. Outlives its component; only `cleanup_logs` deletes it, by age."""

    component = models.CharField(_("component"), max_length=120)
    before = models.CharField(
        _("before"), max_length=20, choices=Health, blank=True, help_text=_("Empty: it is new.")
    )
    after = models.CharField(
        _("after"), max_length=20, choices=Health, blank=True, help_text=_("Empty: it is gone.")
    )
    detail = models.TextField(_("detail"), blank=True)
    at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("change of a component")
        verbose_name_plural = _("changes of components")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["at"], name="component_change_by_age"),
            models.Index(fields=["component", "-id"], name="component_change_of_one"),
        ]

    def __str__(self) -> str:
        return f"{self.component} {self.at:%Y-%m-%d %H:%M:%S} {self.after}"
