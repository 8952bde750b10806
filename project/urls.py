"""The site: hotdata's JSON endpoints and the Django admin."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

admin.site.site_header = admin.site.site_title = "hotdata"
admin.site.enable_nav_sidebar = False  # the lists need the width

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("", include("hotdata.api.urls")),
    path("admin/", admin.site.urls),
]
