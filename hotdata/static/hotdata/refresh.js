// Fetches the page again every few seconds and puts the new content in the place of the old. It rests while nobody can
// see the page, and while somebody is at something in it: a focus, a selection or an open menu would be lost.
"use strict";

(() => {
  const bar = document.querySelector("[data-refreshes]");
  if (!bar) {
    return;
  }
  const STORED = "hotdata.refresh";
  const PATIENCE = 20000; // milliseconds
  const id = bar.dataset.refreshes;
  const choice = bar.querySelector("select");
  const button = bar.querySelector("button");
  const said = bar.querySelector("[data-said]");
  let paused = false;
  let timer;
  let last = Date.now();
  let under_way = false;

  const region = () => document.getElementById(id);

  const stored = () => {
    try {
      return localStorage.getItem(STORED);
    } catch {
      return null; // storage may be forbidden
    }
  };

  const store = (value) => {
    try {
      localStorage.setItem(STORED, value);
    } catch {
      // The choice holds for this page then.
    }
  };

  const isInUse = () => {
    const selection = window.getSelection();
    return (
      (document.activeElement !== document.body && region().contains(document.activeElement)) ||
      (selection && !selection.isCollapsed && region().contains(selection.anchorNode)) ||
      region().querySelector("details[open]") !== null
    );
  };

  const every = () => (paused ? 0 : Number(choice.value) * 1000);

  const plan = () => {
    clearTimeout(timer);
    if (every() > 0) {
      timer = setTimeout(turn, Math.max(last + every() - Date.now(), 250));
    }
  };

  const turn = async () => {
    if (!document.hidden && !isInUse() && !under_way) {
      under_way = true;
      await refresh();
      under_way = false;
      last = Date.now();
    } else if (!document.hidden) {
      last = Date.now() - every() + 1000; // looks again in a second
    }
    if (!document.hidden) {
      plan();
    }
  };

  const refresh = async () => {
    try {
      const answer = await fetch(window.location.href, {
        credentials: "same-origin",
        cache: "no-store",
        redirect: "error", // to the login, say
        signal: AbortSignal.timeout(PATIENCE),
      });
      if (!answer.ok) {
        throw new Error(String(answer.status));
      }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById(id);
      if (!fresh) {
        throw new Error("another page");
      }
      if (!isInUse()) {
        swap(fresh, page);
      }
      said.textContent = "";
    } catch {
      said.textContent = bar.dataset.failed;
    }
  };

  const swap = (fresh, page) => {
    const across = [...region().querySelectorAll(".hd-scroll")].map((box) => box.scrollLeft);
    const top = window.scrollY;
    region().replaceWith(document.adoptNode(fresh));
    region()
      .querySelectorAll(".hd-scroll")
      .forEach((box, at) => {
        box.scrollLeft = across[at] || 0;
      });
    window.scrollTo({ top, behavior: "instant" });
    document.title = page.title;
    const icon = document.querySelector("link[rel=icon]");
    const other = page.querySelector("link[rel=icon]");
    if (icon && other && icon.getAttribute("href") !== other.getAttribute("href")) {
      icon.setAttribute("href", other.getAttribute("href"));
    }
  };

  choice.addEventListener("change", () => {
    store(choice.value);
    last = Date.now();
    plan();
  });
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? bar.dataset.resume : bar.dataset.pause;
    bar.classList.toggle("hd-paused", paused);
    last = paused ? last : 0;
    plan();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      plan();
    }
  });

  if ([...choice.options].some((option) => option.value === stored())) {
    choice.value = stored();
  }
  bar.hidden = false;
  plan();
})();
