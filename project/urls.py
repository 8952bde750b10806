"""The site: hotdata's JSON endpoints, the Django admin, and the choice of a language."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from hotdata.api.answers import not_found

handler500 = "hotdata.api.answers.server_error"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("", include("hotdata.api.urls")),
    re_path(r"^api(?:/|\Z)", not_found),  # nothing else of this site lies there
    path("admin/", admin.site.urls),
    path("i18n/", include("django.conf.urls.i18n")),
]
