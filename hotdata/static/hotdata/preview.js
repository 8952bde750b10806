// Asks the server what the schedule in the form comes to while somebody types, and shows its answer and its errors.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const WAIT = 250; // milliseconds after the last key
  const FIELDS = [
    "trigger", "cron", "interval", "run_at_0", "run_at_1", "time_zone", "starts_at_0", "starts_at_1", "ends_at_0",
    "ends_at_1", "jitter",
  ];
  const region = document.getElementById("hd-preview");
  const form = document.getElementById("job_form");
  if (!region || !form || !form.querySelector('[name="trigger"]')) {
    return;
  }
  let timer;
  let asked;

  const mark = () => {
    for (const shown of form.querySelectorAll(".hd-live-error")) {
      shown.remove();
    }
    for (const input of form.querySelectorAll("[data-live-invalid]")) {
      input.removeAttribute("aria-invalid");
      input.removeAttribute("data-live-invalid");
    }
    for (const error of region.querySelectorAll("[data-error-for]")) {
      const row = form.querySelector(`.form-row.field-${error.dataset.errorFor}`);
      const input = row && row.querySelector("input");
      if (!input || row.hidden) {
        continue;
      }
      input.setAttribute("aria-invalid", "true");
      input.dataset.liveInvalid = "";
      const text = document.createElement("div");
      text.className = "hd-live-error hd-error";
      text.textContent = error.dataset.error;
      row.append(text);
    }
  };

  const ask = async () => {
    if (asked) {
      asked.abort();
    }
    asked = new AbortController();
    const filled = new FormData(form);
    const query = new URLSearchParams({ of: region.dataset.of });
    for (const name of FIELDS) {
      query.set(name, filled.get(name) || "");
    }
    try {
      const answer = await fetch(`${region.dataset.url}?${query}`, { signal: asked.signal, credentials: "same-origin" });
      if (!answer.ok || answer.redirected) {
        throw new Error(answer.statusText);
      }
      region.innerHTML = await answer.text();
    } catch (error) {
      if (error.name === "AbortError") {
        return;
      }
      region.textContent = region.dataset.failed;
    }
    mark();
  };

  form.addEventListener("input", (event) => {
    if (FIELDS.includes(event.target.name)) {
      clearTimeout(timer);
      timer = setTimeout(ask, WAIT);
    }
  });
  // Django's date and time shortcuts fill in without an event.
  form.addEventListener("click", (event) => {
    if (event.target.closest(".datetimeshortcuts, .calendarbox, .clockbox")) {
      clearTimeout(timer);
      timer = setTimeout(ask, WAIT);
    }
  });
});
