// Shows the fields of another task as soon as it is chosen. Without this there is a button for that.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const region = document.getElementById("hd-params");
  const choice = document.getElementById("id_task");
  if (!region || !choice) {
    return;
  }
  for (const button of document.querySelectorAll(".hd-no-js")) {
    button.hidden = true;
  }
  choice.addEventListener("change", async () => {
    const chosen = choice.value;
    const query = new URLSearchParams({ task: chosen, of: region.dataset.of });
    const answer = await fetch(`${region.dataset.url}?${query}`, { credentials: "same-origin" });
    if (answer.ok && !answer.redirected && choice.value === chosen) {
      region.innerHTML = await answer.text();
    }
  });
});
