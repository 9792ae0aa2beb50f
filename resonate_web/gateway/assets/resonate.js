// Makes pages nicer and is needed by none: times in the reader's zone, and runs that are followed as they go on.
"use strict";

(() => {
  const RELAXED_MS = 30_000; // between looks while the stream of events works
  const LEAST_MS = 400; // between two looks, however many events come

  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const say = (options) => new Intl.DateTimeFormat(undefined, options);
  const day = say({ dateStyle: "medium" });
  const moment = say({ dateStyle: "medium", timeStyle: "short" });
  const clock = say({ timeStyle: "medium" });
  const both = say({ dateStyle: "medium", timeStyle: "medium" });

  function prepare(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const before = new Date(time.dataset.clock);
      const same = !Number.isNaN(before.getTime()) && day.format(before) === day.format(at);
      time.textContent = ("clock" in time.dataset ? (same ? clock : both) : moment).format(at);
      time.title = time.dateTime;
    }
    // These lead to a page that does not load itself again, which is this one.
    for (const link of root.querySelectorAll("a[data-here]")) link.setAttribute("href", link.hash);
    for (const place of root.querySelectorAll("[data-zone]")) place.textContent = `your time zone, ${zone}`;
  }

  // Makes `old` like `next` and touches nothing that is the same: focus, selection and what is unfolded stay.
  function morph(old, next) {
    if (old.isEqualNode(next)) return;
    if (old.nodeName !== next.nodeName || old.nodeType !== Node.ELEMENT_NODE || old.id !== next.id) {
      old.replaceWith(next);
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    for (const { name, value } of next.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    align(old, [...next.childNodes]);
  }

  // Pairs children by id where they have one, else by place; what stays in order is not moved, which would cost it the focus.
  function align(old, children) {
    const ids = new Set(children.map((child) => child.id).filter(Boolean));
    let place = old.firstChild;
    const skip = () => {
      const gone = place;
      place = place.nextSibling;
      return gone;
    };
    for (const child of children) {
      const same = child.id ? [...old.children].find((mine) => mine.id === child.id) : null;
      if (same) {
        while (place && place !== same && !ids.has(place.id)) skip().remove();
        if (place === same) skip();
        else old.insertBefore(same, place);
        morph(same, child);
      } else if (place && !ids.has(place.id)) {
        morph(skip(), child);
      } else {
        old.insertBefore(child, place);
      }
    }
    while (place) skip().remove();
  }

  function follow(shown) {
    const announcer = document.querySelector("[data-announcer]");
    const note = document.querySelector("[data-live-note]");
    const words = document.createElement("span");
    const button = document.createElement("button");
    button.type = "button";
    note.append(words, " ", button);
    note.hidden = false;

    let stream = null;
    let timer = null;
    let looking = false;
    let again = false;
    let paused = false;

    const tell = (text) => {
      words.textContent = text;
      button.textContent = paused ? "Go on" : "Pause";
    };

    function later(ms) {
      clearTimeout(timer);
      if (!paused) timer = setTimeout(look, ms);
    }

    function end(text) {
      stop();
      tell(text);
      button.remove();
    }

    function stop() {
      clearTimeout(timer);
      stream?.close();
      stream = null;
    }

    const pause = () => (stream?.readyState === EventSource.OPEN ? RELAXED_MS : 1000 * Number(shown.dataset.refresh));

    async function look() {
      if (looking) {
        again = true;
        return;
      }
      looking = true;
      again = false;
      try {
        const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
        if (answer.status === 404 || answer.status === 410) return end("This page is no longer available.");
        if (!answer.ok) throw new Error(`status ${answer.status}`);
        if (!paused) show(await answer.text());
        if ("live" in shown.dataset) tell(paused ? "Updates are paused." : "This page follows the run by itself.");
        else end("");
      } catch {
        tell("The server does not answer. Trying again.");
      } finally {
        looking = false;
      }
      if ("live" in shown.dataset) later(again ? LEAST_MS : pause());
    }

    function show(html) {
      const found = new DOMParser().parseFromString(html, "text/html");
      const next = found.querySelector("[data-run-page]");
      if (!next) return;
      const said = shown.dataset.announce;
      prepare(next);
      morph(shown, document.importNode(next, true));
      document.title = found.title;
      if (shown.dataset.announce !== said) announcer.textContent = shown.dataset.announce;
    }

    function listen() {
      if (!shown.dataset.events || !window.EventSource) return;
      stream = new EventSource(shown.dataset.events);
      stream.addEventListener("status", () => later(LEAST_MS));
      stream.addEventListener("error", () => later(1000 * Number(shown.dataset.refresh)));
    }

    button.addEventListener("click", () => {
      paused = !paused;
      tell(paused ? "Updates are paused." : "This page follows the run by itself.");
      if (paused) stop();
      else {
        listen();
        look();
      }
    });
    tell("This page follows the run by itself.");
    listen();
    later(pause());
  }

  prepare(document);
  const live = document.querySelector("[data-live]");
  if (live) follow(live);
})();
