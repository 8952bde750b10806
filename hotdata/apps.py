"""hotdata as a Django app: settings are checked and every app's tasks are found when Django starts."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class HotdataConfig(AppConfig):
    name = "hotdata"
    verbose_name = _("Hot data")

    def ready(self) -> None:
        from hotdata import checks, conf  # noqa: F401 - importing the checks registers them

        conf.conf()
        autodiscover_modules("tasks")
