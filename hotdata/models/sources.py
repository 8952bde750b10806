"""Sources: the upstreams, how they are asked, and how long their answers are good for. And their pinned keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import IntegrityError, models, transaction
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from hotdata import registry
from hotdata.endpoints import Endpoint, check_placeholders
from hotdata.exceptions import BadSource, UnknownTask
from hotdata.keys import MAX_LENGTH, check_key
from hotdata.models.acceptance import Acceptance
from hotdata.models.budgets import Budget
from hotdata.models.changes import ChangeCounter
from hotdata.models.durations import SHORTEST_TIMEOUT, check_durations
from hotdata.models.history import TrackedQuerySet, edit_history
from hotdata.models.upkeep import Upkeep

DURATIONS = (
    "soft_ttl",
    "hard_ttl",
    "absent_ttl",
    "refresh_after",
    "max_age",
    "objective_age",
    "timeout",
    "breaker_pause",
)
MAX_WEIGHT = 1000


class SourceQuerySet(TrackedQuerySet["Source"]):
    def enabled(self) -> SourceQuerySet:
        return self.filter(enabled=True)


class Source(Budget, Upkeep, Acceptance):
    """An upstream. Either HTTP JSON, by the fields below, or a registered fetcher."""

    name = models.SlugField(_("name"), max_length=100, unique=True, help_text=_("In URLs: /api/hot/NAME/KEY"))
    title = models.CharField(_("title"), max_length=200, blank=True)
    enabled = models.BooleanField(
        _("enabled"), default=True, help_text=_("Off: served as it is, not refreshed.")
    )
    fetcher = models.CharField(
        _("fetcher"),
        max_length=100,
        blank=True,
        help_text=_("A registered fetcher. Empty: HTTP JSON, as below."),
    )

    base_url = models.CharField(
        _("base URL"), max_length=500, blank=True, help_text="https://api.example.com/v1"
    )
    path = models.CharField(
        _("path"),
        max_length=500,
        blank=True,
        help_text=_("With {key}, or a placeholder of the pinned keys, as a whole segment: /quote/{key}"),
    )
    query = models.JSONField(
        _("query"),
        default=dict,
        blank=True,
        help_text=_('With {key}, or a placeholder of the pinned keys, as a whole value: {"symbol": "{key}"}'),
    )
    headers = models.JSONField(_("headers"), default=dict, blank=True, help_text=_("No secrets here."))
    secret_query = models.JSONField(
        _("secret query"),
        default=dict,
        blank=True,
        help_text=_("Query name to the name of an environment variable."),
    )
    secret_headers = models.JSONField(
        _("secret headers"),
        default=dict,
        blank=True,
        help_text=_('Header to the name of an environment variable: {"X-API-Key": "HOTDATA_SECRET_STOCKS"}'),
    )
    value = models.CharField(
        _("value"),
        max_length=500,
        blank=True,
        help_text=_("JMESPath from the answer to what is kept. Empty: all."),
    )
    batch_size = models.PositiveSmallIntegerField(
        _("batch size"),
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text=_("Keys per call, where the upstream has a batch endpoint."),
    )
    batch_path = models.CharField(_("batch path"), max_length=500, blank=True)
    batch_query = models.JSONField(
        _("batch query"),
        default=dict,
        blank=True,
        help_text=_('With {keys} as a whole value: {"symbols": "{keys}"}'),
    )
    batch_items = models.CharField(
        _("batch items"),
        max_length=500,
        blank=True,
        help_text=_("JMESPath to the items: a list, or a mapping by key."),
    )
    batch_key = models.CharField(
        _("batch key"),
        max_length=500,
        blank=True,
        help_text=_("In a list: JMESPath from an item to its key."),
    )

    max_failed_share = models.FloatField(
        _("tolerated failures"),
        default=0.5,
        validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text=_("A refresh fails when more than this share of its keys failed, or all did."),
    )

    objects = SourceQuerySet.as_manager()
    history = edit_history(_("edit of a source"), _("edits of sources"))

    class Meta:
        verbose_name = _("source")
        verbose_name_plural = _("sources")
        ordering = ["name"]
        permissions = [("refresh_source", _("Can refresh sources now"))]
        constraints = [
            *Budget.Meta.constraints,
            *Upkeep.Meta.constraints,
            *Acceptance.Meta.constraints,
            models.CheckConstraint(condition=Q(batch_size__gte=1), name="source_batch_size_positive"),
            models.CheckConstraint(
                condition=Q(max_failed_share__gte=0, max_failed_share__lte=1),
                name="source_failed_share_is_share",
            ),
        ]

    def __str__(self) -> str:
        return self.title or self.name

    def build_endpoint(self) -> Endpoint:
        """How this source is asked over HTTP; raises BadSource."""
        return Endpoint(
            base_url=self.base_url,
            path=self.path,
            query=self.query,
            headers=self.headers,
            secret_query=self.secret_query,
            secret_headers=self.secret_headers,
            value=self.value,
            batch_size=self.batch_size,
            batch_path=self.batch_path,
            batch_query=self.batch_query,
            batch_items=self.batch_items,
            batch_key=self.batch_key,
        )

    def clean(self) -> None:
        """Check what fields alone can't. Raises ValidationError by field."""
        for field in self._meta.concrete_fields:
            # None is what a form makes of one that was left empty.
            if isinstance(field, models.JSONField) and getattr(self, field.name) is None:
                setattr(self, field.name, field.get_default())
        errors = check_durations(self, **dict.fromkeys(DURATIONS, SHORTEST_TIMEOUT)) | self._unordered_times()
        for check in (self._check_way, self.build_rules, self.build_pattern, self.build_windows):
            try:
                check()
            except UnknownTask as error:
                errors["fetcher"] = str(error)
            except BadSource as error:
                errors[error.field] = str(error)
        if errors:
            raise ValidationError(errors)

    def _check_way(self) -> None:
        """Raise BadSource or UnknownTask unless there is a way to ask it: a registered fetcher, or an endpoint."""
        if self.fetcher:
            registry.fetchers.get(self.fetcher)
        else:
            self.build_endpoint()

    def save(self, *args: Any, **kwargs: Any) -> None:
        with transaction.atomic():
            self.save_uncounted(*args, **kwargs)
            ChangeCounter.bump()

    def save_uncounted(self, *args: Any, **kwargs: Any) -> None:
        """`save`, for a caller who bumps the counter in the same transaction."""
        super().save(*args, **kwargs)

    def define(self, **fields: Any) -> None:
        """Set `fields`, and all others but the name to their defaults. Nothing is checked or saved."""
        for field in self._defining_fields():
            setattr(self, field.name, fields.pop(field.name, field.get_default()))
        assert not fields, f"no fields of a source: {fields}"

    def definition(self) -> dict[str, Any]:
        """All that was set of it and its pinned keys, as JSON: another one after any edit, but of the name."""
        fields = {field.name: field.value_to_string(self) for field in self._defining_fields()}
        pinned = [[pinned.key, pinned.weight, pinned.placeholders] for pinned in self.pinned.all()]
        return fields | {"pinned": pinned}

    def _defining_fields(self) -> list[models.Field[Any, Any]]:
        return [field for field in self._meta.concrete_fields if field.name not in ("id", "name")]

    def pin(self, key: str, placeholders: Mapping[str, str] = {}) -> bool:
        """Keep `key` hot from now on; False when it was pinned already. Raises ValidationError, BadSource."""
        pinned = Key(source=self, key=key, placeholders=dict(placeholders))
        pinned.clean_fields()
        pinned.clean()
        pattern = self.build_pattern()
        if pattern is not None and not pattern.matches(pinned.key):
            raise ValidationError({"key": _("This key doesn't match the source's key pattern.")})
        try:
            with transaction.atomic():
                pinned.save()
                ChangeCounter.bump()
        except IntegrityError:
            if not self.pinned.filter(key=pinned.key).exists():
                raise
            return False
        return True

    def unpin(self, key: str) -> bool:
        """Keep `key` hot only for as long as it is read; False when it was not pinned."""
        with transaction.atomic():
            pinned = self.pinned.select_for_update().filter(key=key).first()
            if pinned is None:
                return False
            pinned.delete()
            ChangeCounter.bump()
        return True

    def pinned_keys(self) -> list[str]:
        """The keys that are always kept hot, in the order in which they were pinned."""
        return [pinned.key for pinned in self.pinned.all()]

    def placeholders_by_key(self) -> dict[str, dict[str, str]]:
        """By pinned key, the texts that the path and query are filled with beside the key."""
        return {pinned.key: pinned.placeholders for pinned in self.pinned.all()}


def _missing(name: str) -> str:
    names = Source.objects.values_list("name", flat=True)
    return "" if name in names else f"There is no source {name!r}. Sources: {', '.join(names) or 'none'}."


SourceName = Annotated[str, registry.Names(_missing)]
"""The type of a task's parameter that names a source: a job with another name is refused where it is edited."""


class KeyQuerySet(TrackedQuerySet["Key"]):
    pass


class Key(models.Model):
    """A pinned key: kept hot whether anybody reads it or not."""

    source = models.ForeignKey(
        Source, verbose_name=_("source"), on_delete=models.CASCADE, related_name="pinned"
    )
    key = models.CharField(_("key"), max_length=MAX_LENGTH)
    weight = models.FloatField(
        _("weight"),
        default=1.0,
        validators=[MinValueValidator(0.01), MaxValueValidator(MAX_WEIGHT)],
        help_text=_("How much a read of it counts, when the budget doesn't suffice for all."),
    )
    placeholders = models.JSONField(
        _("placeholders"),
        default=dict,
        blank=True,
        help_text=_(
            'What the path and query ask for beside {key}: {"latitude": "39.9", "longitude": "116.4"}'
        ),
    )

    objects = KeyQuerySet.as_manager()
    history = edit_history(_("edit of a pinned key"), _("edits of pinned keys"))

    class Meta:
        verbose_name = _("pinned key")
        verbose_name_plural = _("pinned keys")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["source", "key"], name="key_pinned_once"),
            models.CheckConstraint(condition=~Q(key=""), name="key_not_empty"),
            models.CheckConstraint(
                condition=Q(weight__gt=0, weight__lte=MAX_WEIGHT), name="key_weight_in_range"
            ),
        ]

    def __str__(self) -> str:
        return self.key

    def clean(self) -> None:
        """Bring the key into its one form, and check the placeholders. Raises ValidationError by field."""
        errors = {}
        if self.placeholders is None:  # left empty in a form
            self.placeholders = {}
        try:
            self.key = check_key(self.key)
        except ValueError as error:
            errors["key"] = str(error)
        try:
            check_placeholders(self.placeholders)
        except BadSource as error:
            errors[error.field] = str(error)
        if errors:
            raise ValidationError(errors)

    def save(self, *args: Any, **kwargs: Any) -> None:
        with transaction.atomic():  # the key and its history, or neither
            super().save(*args, **kwargs)
