// One handler for all marks of charts that lead somewhere. Whoever uses a keyboard has the same links in the tables.
"use strict";

document.addEventListener("click", (event) => {
  const mark = event.target.closest("svg [data-href]");
  if (mark) {
    window.location.assign(mark.dataset.href);
  }
});
