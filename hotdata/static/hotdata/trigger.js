// Of the fields cron, interval and "run at" shows that of the chosen trigger. Without this all three are there.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const rows = { cron: ".field-cron", interval: ".field-interval", date: ".field-run_at" };
  const choices = document.querySelectorAll('input[name="trigger"]');
  const follow = () => {
    const chosen = document.querySelector('input[name="trigger"]:checked');
    for (const [kind, selector] of Object.entries(rows)) {
      const row = document.querySelector(`.form-row${selector}`);
      if (row && chosen) {
        row.hidden = kind !== chosen.value;
      }
    }
  };
  for (const choice of choices) {
    choice.addEventListener("change", follow);
  }
  follow();
});
