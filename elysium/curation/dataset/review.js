"use strict";
// Shows the tracks one after the other, and gives each verdict away: to the server that the page came from, or to the
// browser's own store until it is downloaded.
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const records = data.records, buttons = [...document.querySelectorAll(".choices button")];
  const shelf = "elysium-review " + data.key;
  const answers = new Map();
  let place = 0, busy = false;

  const kept = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
  const keep = (key, text) => { try { localStorage.setItem(key, text); return true; } catch { return false; } };
  const tell = (text) => { $("problem").textContent = text; $("problem").hidden = !text; };

  const unchecked = (from) => {
    for (let step = 0; step < records.length; step++) {
      const number = (from + step) % records.length;
      if (!records[number].verdict) return number;
    }
    return -1;
  };

  const show = (number) => {
    place = Math.min(Math.max(number, 0), records.length - 1);
    const record = records[place];
    $("expression").textContent = record.expression;
    $("picture").src = record.picture;
    $("picture").alt = `${record.expression}: ${record.times.length} frames from ${record.from} to ${record.to} s, the box drawn in`;
    $("times").replaceChildren(...record.times.map((time) => Object.assign(document.createElement("span"), { textContent: time + " s" })));
    const parts = [record.class, record.split, `${record.frames} frames of ${record.size}`, `tracking ${record.confidence.track}`];
    if (record.confidence.grounding) parts.push(`grounding ${record.confidence.grounding}`);
    if (record.confidence.overlap) parts.push(`overlap ${record.confidence.overlap}`);
    $("told").textContent = [...parts, record.id, record.source].join(" · ");
    $("caption").textContent = `Caption: “${record.caption}”` + (record.verdict ? ` · called ${record.verdict.replaceAll("_", " ")} by ${record.by}` : "");
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.verdict === record.verdict));
    $("place").textContent = `${place + 1} of ${records.length}`;
    $("back").disabled = place === 0;
    $("next").disabled = place === records.length - 1;
    const after = records[unchecked(place + 1)];
    if (after) new Image().src = after.picture;
    count();
  };

  const count = () => {
    const done = records.filter((record) => record.verdict);
    const right = done.filter((record) => record.verdict === "right").length;
    const unsure = done.filter((record) => record.verdict === "unsure").length;
    $("bar").value = done.length;
    $("done").textContent = `${done.length} of ${records.length} checked: ${right} right, ${done.length - right - unsure} wrong, ${unsure} unsure`;
    $("open").disabled = done.length === records.length;
  };

  const tick = async (verdict) => {
    const reviewer = $("reviewer").value.trim();
    if (!reviewer) {
      tell("Say who you are first: your name stands beside each verdict.");
      $("reviewer").focus();
      return;
    }
    if (busy) return;
    const record = records[place];
    const answer = { id: record.id, verdict, reviewer, time: new Date().toISOString(), content: record.content };
    try {
      busy = true;
      if (data.served) await send(answer);
      else hold(answer);
    } catch (error) {
      tell(`This verdict was not stored: ${error.message}`);
      return;
    } finally {
      busy = false;
    }
    if (data.served) tell("");
    Object.assign(record, { verdict, by: reviewer });
    const next = unchecked(place + 1);
    show(next < 0 ? Math.min(place + 1, records.length - 1) : next);
  };

  const send = async (answer) => {
    const reply = await fetch("tick", {
      method: "POST", headers: { "Content-Type": "application/json", "X-Token": data.token }, body: JSON.stringify(answer),
    }).catch(() => { throw new Error("the command that serves this page has ended; start it again, and reload"); });
    if (!reply.ok) throw new Error(await reply.text());
  };

  const hold = (answer) => {
    answers.set(answer.id, answer);
    const stored = keep(shelf, JSON.stringify([...answers.values()]));
    tell(stored ? "" : "This browser keeps nothing for files: download your answers before you close the page.");
  };

  const download = () => {
    const content = { title: data.title, answers: [...answers.values()] };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1) + "\n"], { type: "application/json" }));
    link.download = "answers.json";
    link.click();
  };

  const keys = new Map(buttons.flatMap((button) => button.getAttribute("aria-keyshortcuts").split(" ").map((key) => [key, button.dataset.verdict])));
  document.addEventListener("keydown", (event) => {
    if (event.target instanceof HTMLInputElement || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (keys.has(event.key)) tick(keys.get(event.key));
    else if (event.key === "ArrowLeft") show(place - 1);
    else if (event.key === "ArrowRight") show(place + 1);
    else if (event.key === "o") { const next = unchecked(place + 1); if (next >= 0) show(next); }
    else return;
    event.preventDefault();
  });
  for (const button of buttons) button.addEventListener("click", () => tick(button.dataset.verdict));
  $("back").addEventListener("click", () => show(place - 1));
  $("next").addEventListener("click", () => show(place + 1));
  $("open").addEventListener("click", () => { const next = unchecked(place + 1); if (next >= 0) show(next); });
  $("reviewer").addEventListener("change", () => keep("elysium-reviewer", $("reviewer").value));
  $("reviewer").addEventListener("keydown", (event) => { if (event.key === "Enter") { $("reviewer").blur(); buttons[0].focus(); } });
  if (!$("reviewer").value) $("reviewer").value = kept("elysium-reviewer") || "";
  if (!data.served) {
    $("save").addEventListener("click", download);
    const known = new Map(records.map((record) => [record.id, record]));
    for (const answer of JSON.parse(kept(shelf) || "[]")) {
      const record = known.get(answer.id);
      if (!record || record.content !== answer.content) continue;
      answers.set(answer.id, answer);
      Object.assign(record, { verdict: answer.verdict, by: answer.reviewer });
    }
  }
  $("picture").addEventListener("error", () => tell("The picture of this track cannot be shown: the command's output says why."));
  if (records.length) {
    $("track").hidden = false;
    show(Math.max(unchecked(0), 0));
  } else {
    $("done").textContent = "There is nothing to check.";
    for (const id of ["back", "next", "open"]) $(id).disabled = true;
  }
})();
