// What the pages do beyond links and forms. Nothing here makes markup of text: fragments come from the server by htmx.
"use strict";

(() => {
  const body = document.body;
  const dialog = document.getElementById("dialog");
  const words = document.getElementById("live-words");
  const keysOn = () => body.dataset.keys === "on";

  // Questions open as dialogs; without this script they are pages.
  let asker = null;
  const question = (from, address) => {
    asker = from;
    htmx.ajax("GET", address, { target: "#dialog-body", select: "#confirm" }).then(() => {
      if (!dialog.querySelector("#confirm")) return;
      if (!dialog.open) dialog.showModal();
      const first = dialog.querySelector("input:not([type=hidden]), select, textarea, button");
      if (first) first.focus();
    });
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-ask]");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      question(link, link.getAttribute("href"));
      return;
    }
    const close = event.target.closest("[data-close]");
    if (close && dialog && dialog.open && dialog.contains(close)) {
      event.preventDefault();
      dialog.close();
      return;
    }
    const copied = event.target.closest("[data-copy]");
    if (copied && navigator.clipboard) {
      navigator.clipboard.writeText(copied.textContent).then(() => say("Copied " + copied.textContent));
    }
  });
  if (dialog) {
    dialog.addEventListener("close", () => {
      document.getElementById("dialog-body").replaceChildren();
      if (asker && asker.isConnected) asker.focus();
      asker = null;
    });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }
  // A form that was sent is not sent twice by a second click.
  document.addEventListener("submit", (event) => {
    if (event.target.matches("form[data-ask]")) {
      event.preventDefault();
      const query = new URLSearchParams(new FormData(event.target, event.submitter));
      question(event.submitter || event.target, event.target.getAttribute("action") + "?" + query);
      return;
    }
    if (event.target.method !== "post") return;
    for (const button of event.target.querySelectorAll("button[type=submit]")) {
      setTimeout(() => { button.disabled = true; }, 0);
    }
  });
  window.addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll("button[type=submit][disabled]:not([data-off])")) button.disabled = false;
  });
  body.addEventListener("htmx:responseError", (event) => say(event.detail.xhr.responseText.slice(0, 300)));

  const say = (text) => { if (words) words.textContent = text; };

  // Live: what happened makes the live parts ask for themselves again, at most every two seconds, never while hidden.
  let source = null;
  let timer = null;
  let waiting = false;
  const refresh = () => {
    timer = null;
    if (document.hidden) { waiting = true; return; }
    const here = location.pathname + location.search;
    const parts = [...document.querySelectorAll("[data-live][id]")].filter((part) => !part.contains(document.activeElement) || document.activeElement === body);
    if (parts.length) {
      const [first, ...rest] = parts;
      htmx.ajax("GET", here, {
        source: body, target: "#" + first.id, select: "#" + first.id + " > *",
        headers: { "X-Live": "1" }, selectOOB: rest.map((part) => "#" + part.id).join(","),
      });
    }
    // Rows wait behind a note that says how many there are, so that nothing moves under the reader.
    for (const note of document.querySelectorAll("[data-newer]")) {
      if (note.contains(document.activeElement)) continue;
      htmx.ajax("GET", note.dataset.newer, { source: note, target: note, select: "#newer > *" }).then(() => { note.hidden = false; });
    }
  };
  const happened = () => { if (timer === null) timer = setTimeout(refresh, 2000); };
  const listen = () => {
    if (source || document.hidden || !body.dataset.events || !window.EventSource) return;
    source = new EventSource(body.dataset.events);
    source.addEventListener("run", happened);
    source.addEventListener("audit", happened);
    source.addEventListener("open", () => body.classList.remove("offline"));
    source.addEventListener("error", () => body.classList.add("offline"));
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      if (source) { source.close(); source = null; }
      return;
    }
    listen();
    if (waiting || !document.querySelector("[data-newer]")) { waiting = false; happened(); }
  });
  window.addEventListener("pagehide", () => { if (source) { source.close(); source = null; } });
  if (document.querySelector("[data-live], [data-newer]")) listen();
  // What a worker does without a run of its own is asked for again while it goes on; its end is shown as a whole page.
  if (document.querySelector("[data-poll]")) {
    const looking = setInterval(() => {
      if (document.querySelector("[data-poll]")) { happened(); return; }
      clearInterval(looking);
      location.reload();
    }, 2000);
  }

  // The palette: pages and acts by a part of their name, or else a job.
  const palette = document.getElementById("palette");
  const wanted = document.getElementById("palette-q");
  const options = palette ? [...palette.querySelectorAll("[role=option]")] : [];
  let opener = null;
  const choose = (option) => {
    for (const each of options) each.setAttribute("aria-selected", String(each === option));
    wanted.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  };
  const filter = () => {
    const parts = wanted.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    for (const option of options) {
      option.hidden = option.id === "palette-find" ? !parts.length : !parts.every((part) => option.textContent.toLowerCase().includes(part));
    }
    document.getElementById("palette-text").textContent = wanted.value.trim();
    const first = options.find((option) => !option.hidden);
    if (first) choose(first);
  };
  const openPalette = () => {
    if (palette.open) { palette.close(); return; }
    opener = document.activeElement;
    wanted.value = "";
    filter();
    palette.showModal();
    wanted.focus();
  };
  const follow = (option) => {
    if (option.id === "palette-find") { palette.querySelector("form").submit(); return; }
    opener = null;
    palette.close();
    if (option.dataset.press) {
      const target = document.querySelector(`[data-key="${CSS.escape(option.dataset.press)}"]`);
      if (target) target.click();
    } else location.assign(option.dataset.href);
  };
  if (palette) {
    wanted.addEventListener("input", filter);
    palette.addEventListener("close", () => { if (opener && opener.isConnected) opener.focus(); opener = null; });
    palette.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) follow(option); else if (event.target === palette) palette.close();
    });
    palette.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      const option = options.find((each) => each.getAttribute("aria-selected") === "true" && !each.hidden);
      if (option) follow(option);
    });
    wanted.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
      event.preventDefault();
      const shown = options.filter((option) => !option.hidden);
      const now = shown.findIndex((option) => option.getAttribute("aria-selected") === "true");
      if (shown.length) choose(shown[(now + (event.key === "ArrowDown" ? 1 : -1) + shown.length) % shown.length]);
    });
  }

  // Keys.
  const rows = () => [...document.querySelectorAll("tbody[data-rows] > tr, ol[data-rows] > li, div[data-rows] > [data-row]")];
  let at = -1;
  const move = (step) => {
    const all = rows();
    if (!all.length) return;
    at = Math.max(0, Math.min(all.length - 1, at + step));
    all.forEach((row, index) => row.classList.toggle("at", index === at));
    const link = all[at].querySelector("a[href], button");
    if (link) link.focus({ preventScroll: true });
    all[at].scrollIntoView({ block: "nearest" });
  };
  let going = 0;
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      if (palette && !(dialog && dialog.open)) { event.preventDefault(); openPalette(); }
      return;
    }
    if (event.key === "Escape" && event.target.id === "q") { event.target.blur(); return; }
    if (!keysOn() || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
    const key = event.key;
    if (going && Date.now() - going < 1500) {
      going = 0;
      const link = document.querySelector(`[data-go="${CSS.escape(key)}"]`);
      if (link) { event.preventDefault(); location.assign(link.href); }
      return;
    }
    if (key === "g") { going = Date.now(); return; }
    if (key === "/") { const search = document.getElementById("q"); if (search) { event.preventDefault(); search.focus(); search.select(); } return; }
    if (key === "?") { event.preventDefault(); location.assign("/ui/keys"); return; }
    if (key === "j") { event.preventDefault(); move(1); return; }
    if (key === "k") { event.preventDefault(); move(-1); return; }
    const row = rows()[at];
    if (key === "x" && row) {
      const box = row.querySelector("input[type=checkbox]");
      if (box) { event.preventDefault(); box.checked = !box.checked; box.dispatchEvent(new Event("change", { bubbles: true })); say(box.checked ? "Selected" : "Not selected"); }
      return;
    }
    const scope = row && row.querySelector(`[data-key="${CSS.escape(key)}"]`) ? row : document;
    const target = key.length === 1 ? scope.querySelector(`[data-key="${CSS.escape(key)}"]`) : null;
    if (target) { event.preventDefault(); target.click(); }
  });

  // How many rows are chosen.
  document.addEventListener("change", (event) => {
    if (!event.target.matches("input[name=job], input[data-all]")) return;
    if (event.target.matches("[data-all]")) {
      for (const box of document.querySelectorAll("input[name=job]")) box.checked = event.target.checked;
    }
    const count = document.querySelectorAll("input[name=job]:checked").length;
    for (const place of document.querySelectorAll("[data-count]")) place.textContent = String(count);
  });
})();
