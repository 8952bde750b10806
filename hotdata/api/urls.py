"""Where the JSON endpoints and the probes are.

Include this before the admin's URLs: some of the paths lie below /admin/.
"""

from django.urls import path, re_path

from hotdata.api import (
    admin_paths,
    answers,
    description,
    freshness,
    health,
    hot,
    jobs,
    metrics,
    plans,
    runs,
    sources,
)

app_name = "hotdata"

urlpatterns = [
    path("api/", description.index, name="index"),
    path("api/openapi.json", description.openapi, name="openapi"),
    path("api/hot/<slug:source>", hot.many, name="hot-many"),
    path("api/hot/<slug:source>/<path:key>", hot.one, name="hot-one"),
    path("api/freshness/<slug:source>", freshness.of_source, name="freshness"),
    path("api/freshness/<slug:source>/plan", plans.of_source, name="plan"),
    path("api/jobs", jobs.listed, name="jobs"),
    path("api/jobs/<slug:name>", jobs.one, name="job"),
    path("api/jobs/<slug:name>/pause", jobs.pause, name="pause"),
    path("api/jobs/<slug:name>/resume", jobs.resume, name="resume"),
    path("api/jobs/<slug:name>/trigger", jobs.trigger, name="trigger"),
    path("api/jobs/<slug:name>/runs", runs.of_job, name="runs"),
    path("api/runs/<int:run_id>", runs.one, name="run"),
    path("api/runs/<int:run_id>/cancel", runs.cancel, name="cancel"),
    path("api/sources", sources.listed, name="sources"),
    path("api/sources/<slug:name>", sources.one, name="source"),
    path("api/sources/<slug:name>/refresh", sources.refresh, name="refresh"),
    re_path(r"^api/(?:hot|freshness|jobs|runs|sources)(?:/|\Z)", answers.not_found),
    path("admin/scheduled-jobs", admin_paths.scheduled, name="scheduled-jobs"),
    path("admin/jobs/<str:job_id>/trigger", admin_paths.trigger, name="trigger-job"),
    path("admin/jobs/<str:job_id>/logs", admin_paths.logs, name="logs-of-job"),
    re_path(r"^admin/jobs/.*/(?:trigger|logs)\Z", answers.not_found),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
]
