"""Where the JSON endpoints and the probes are.

Include this before the admin's URLs: two of the paths lie below /admin/.
"""

from django.urls import path, re_path

from hotdata.api import answers, freshness, health, hot, jobs, plans

app_name = "hotdata"

urlpatterns = [
    path("api/hot/<slug:source>", hot.many, name="hot-many"),
    path("api/hot/<slug:source>/<path:key>", hot.one, name="hot-one"),
    path("api/freshness/<slug:source>", freshness.of_source, name="freshness"),
    path("api/freshness/<slug:source>/plan", plans.of_source, name="plan"),
    re_path(r"^api/(?:hot|freshness)(?:/|\Z)", answers.not_found),
    path("admin/scheduled-jobs", jobs.scheduled, name="scheduled-jobs"),
    path("admin/jobs/<str:job_id>/trigger", jobs.trigger, name="trigger-job"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
]
