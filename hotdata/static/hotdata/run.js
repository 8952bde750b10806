// Follows a run that is under way: each second, while somebody looks, how it stands and what its log says now.
"use strict";

(() => {
  const SECOND = 1000;
  const SLOWEST = 15 * SECOND;
  const status = document.getElementById("hd-run-status");
  let page = document.getElementById("hd-run");
  if (!page || !page.dataset.live) {
    return;
  }
  let tag = page.dataset.logTag;
  let state = "";
  let pause = SECOND;
  let timer = 0;
  let under_way = false;

  const say = (text) => {
    if (status.textContent !== text) {
      status.textContent = text;
    }
  };

  const showLog = (answer) => {
    const log = document.getElementById("hd-log");
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    if (answer.log_goes_on) {
      log.append(answer.log);
    } else {
      log.textContent = answer.log;
    }
    log.hidden = log.textContent === "";
    document.getElementById("hd-log-empty").hidden = !log.hidden;
    if (atEnd) {
      log.scrollTop = log.scrollHeight;
    }
  };

  // The page as it is for a run that has ended: with its result and without what can't be done any more.
  const showEnd = async () => {
    const answer = await fetch(window.location.href, { credentials: "same-origin" });
    const ended = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("hd-run");
    if (ended) {
      page.replaceWith(ended);
      page = ended;
    }
  };

  const look = async () => {
    if (under_way) {
      return;
    }
    under_way = true;
    try {
      const url = `${page.dataset.live}?log=${encodeURIComponent(tag)}`;
      const reply = await fetch(url, { credentials: "same-origin", redirect: "error" });
      if (!reply.ok) {
        throw new Error(String(reply.status));
      }
      const answer = await reply.json();
      const live = document.getElementById("hd-run-live");
      if (!live.contains(document.activeElement)) {
        live.innerHTML = answer.html; // made by our templates, which escape
      }
      if (answer.log_tag !== tag) {
        showLog(answer);
        tag = answer.log_tag;
      }
      if (answer.state !== state) {
        say(state || pause !== SECOND ? answer.state : "");
        state = answer.state;
      }
      pause = SECOND;
      if (!answer.active) {
        await showEnd();
        return;
      }
    } catch {
      say(page.dataset.lost);
      state = "";
      pause = Math.min(pause * 2, SLOWEST);
    } finally {
      under_way = false;
    }
    timer = window.setTimeout(look, pause);
  };

  document.addEventListener("visibilitychange", () => {
    window.clearTimeout(timer);
    if (!document.hidden && page.dataset.live) {
      look();
    }
  });
  timer = window.setTimeout(look, SECOND);
})();
