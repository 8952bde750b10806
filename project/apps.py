"""The site's own app configuration: Django's admin with hotdata's dashboard and navigation."""

from django.contrib.admin.apps import AdminConfig


class SiteConfig(AdminConfig):
    default_site = "hotdata.pages.site.HotdataSite"
