"use strict";

// Follows the order on the page by polling its status; without this script the page refreshes itself.

const PAUSE_MS = 400;
const LOST_MS = 1000;

const panel = document.querySelector("[data-order]");
if (panel) {
  follow(panel, JSON.parse(panel.querySelector("[data-words]").content.textContent));
}

async function follow(panel, words) {
  let tag = null;
  for (;;) {
    let pause = PAUSE_MS;
    try {
      const headers = { Accept: "application/json", ...(tag && { "If-None-Match": tag }) };
      const answer = await fetch(panel.dataset.order, { headers, cache: "no-store" });
      if (answer.status === 200) {
        tag = answer.headers.get("ETag");
        const run = await answer.json();
        show(panel, words, run);
        if (run.done) return;
      } else if (answer.status !== 304) {
        throw new Error(`status ${answer.status}`);
      }
      say(panel.querySelector("[data-lost]"), "");
    } catch {
      lost(panel, words.lost);
      pause = LOST_MS;
    }
    await new Promise((resume) => setTimeout(resume, pause));
  }
}

function show(panel, words, run) {
  const badge = panel.querySelector("[data-run]");
  if (badge.dataset.run !== run.status) {
    badge.dataset.run = run.status;
    badge.textContent = words.runs[run.status];
  }
  say(panel.querySelector("[data-reason]"), run.reason || run.error?.message || "");
  for (const step of run.steps) {
    const row = panel.querySelector(`[data-step="${CSS.escape(step.name)}"]`);
    if (!row) continue;
    const retrying = step.status === "running" && step.error !== null;
    row.dataset.state = retrying ? "retrying" : step.status;
    row.querySelector(".state").textContent = words.steps[row.dataset.state];
    say(row.querySelector(".note"), retrying ? step.error.message : "");
  }
  if (run.result) {
    for (const cell of panel.querySelectorAll("[data-result]")) {
      const value = run.result[cell.dataset.result];
      cell.textContent = cell.dataset.result === "total" ? `€ ${(value / 100).toFixed(2)}` : value;
    }
    panel.querySelector(".result").hidden = false;
  }
}

function lost(panel, text) {
  let notice = panel.querySelector("[data-lost]");
  if (!notice) {
    notice = document.createElement("p");
    notice.className = "alert";
    notice.dataset.lost = "";
    notice.setAttribute("role", "alert");
    panel.querySelector(".order-head").after(notice);
  }
  say(notice, text);
}

function say(place, text) {
  if (!place || place.textContent === text) return;
  place.textContent = text;
  place.hidden = !text;
}
