"use strict";
const at = id => document.getElementById(id);
const pictures = [];  // {name, url, opened (null until a person says), verdict, item}
const FEW = 4;  // labels shown before the others are asked for
let running = null;

// characters that nobody sees, such as direction overrides, are written as their code points
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
const visible = text => String(text).replace(/\r\n/g, "\n").replace(
  UNSEEN, found => `[U+${found.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}]`);

function make(tag, words = "", kind = "", ...inside) {
  const made = document.createElement(tag);
  made.textContent = visible(words);
  made.className = kind;
  made.append(...inside);
  return made;
}

function button(words, press) {
  const made = make("button", words);
  made.type = "button";
  made.addEventListener("click", press);
  return made;
}

const percent = value => `${(100 * value).toFixed(1)}\u00a0%`;

function bar(name, probability, threshold = null) {
  const fill = make("span", "", "fill");
  fill.style.width = `${100 * probability}%`;
  const track = make("span", "", "track", fill);
  track.setAttribute("aria-hidden", "true");
  if (threshold !== null) {
    const tick = make("span", "", "tick");
    tick.style.left = `calc(${100 * threshold}% - 1px)`;
    track.append(tick);
  }
  return make("li", "", "", make("span", name), make("span", percent(probability), "value"), track);
}

const bars = found => make("ul", "", "bars", ...found.map(each => bar(each.name, each.probability)));

const folded = (words, found) => make("details", "", "", make("summary", words), bars(found));

function finding(verdict) {
  const words = verdict.flagged ? "Flagged" : "Not flagged";
  const sentence = `: unsafe ${percent(verdict.unsafe)}, threshold ${percent(verdict.threshold)}`;
  return [make("p", "", "", make("span", words, verdict.flagged ? "flagged" : "passed"), visible(sentence)),
    make("ul", "", "bars", bar("Unsafe", verdict.unsafe, verdict.threshold))];
}

// pictures

function add(files) {
  for (const file of files) {
    const reader = new FileReader();
    const picture = {name: file.name, url: "", opened: null, verdict: null, item: make("li")};
    reader.addEventListener("load", () => { picture.url = reader.result; show(); });
    reader.addEventListener("error", () => { drop(picture); say(`${file.name} cannot be read`, true); });
    pictures.push(picture);
    at("pictures").append(picture.item);
    reader.readAsDataURL(file);
  }
}

function drop(picture) {
  pictures.splice(pictures.indexOf(picture), 1);
  picture.item.remove();
  show();
  at("files").focus();
}

const clear = picture => picture.opened ?? (picture.verdict !== null && !picture.verdict.stays_blurred);

function show() {
  pictures.forEach((picture, index) => {
    if (!picture.url) return;
    const title = `Picture ${index + 1}`;
    const image = make("img");
    image.src = picture.url;
    image.alt = `${title}${clear(picture) ? "" : ", blurred"}`;
    const open = button(clear(picture) ? "Blur" : "Show", () => {
      picture.opened = !clear(picture);
      show();
      picture.item.querySelector("button").focus();
    });
    const remove = button("Remove", () => drop(picture));
    open.setAttribute("aria-label", `${open.textContent} ${title.toLowerCase()}`);
    remove.setAttribute("aria-label", `Remove ${title.toLowerCase()}`);
    const words = make("div", "", "", make("p", `${title}: ${picture.name}`, "name"));
    if (picture.verdict) {
      const found = picture.verdict.bars;
      words.append(...finding(picture.verdict), bars(found.slice(0, FEW)));
      words.append(folded(`${found.length - FEW} more labels`, found.slice(FEW)));
    } else {
      words.append(make("p", "Not judged yet.", "soft"));
    }
    const side = make("div", "", "", make("div", "", clear(picture) ? "frame" : "frame blurred", image),
      make("div", "", "tools", open, remove));
    picture.item.replaceChildren(side, words);
  });
}

// asking

function headers() {
  const key = at("key");
  return {"Content-Type": "application/json", ...(key ? {Authorization: `Bearer ${key.value.trim()}`} : {})};
}

async function post(path, body, signal) {
  const response = await fetch(path, {method: "POST", headers: headers(), body: JSON.stringify(body), signal});
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  throw new Error(told?.error?.message ?? `the server answered with status ${response.status}`);
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const {value, done} = await reader.read();
    if (done) throw new Error("the answer was cut off");
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

function say(words, isError = false, where = "status") {
  at(where).textContent = visible(words);
  at(where).className = isError ? "error" : "soft";
}

const ENDS = {
  stop: "Answered.",
  length: "Answered; the answer reached the maximum number of tokens.",
  content_filter: "Refused: the request was flagged, so nothing was generated.",
  stopped: "Stopped: the rest of the answer was flagged.",
};

// the second model, if there is one: it has no guard
async function compare(content, signal) {
  at("other").hidden = true;
  say("Answering…", false, "other-status");
  let text = "", end = "";
  try {
    const response = await post("/ui/compare", {messages: [{role: "user", content}], stream: true}, signal);
    for await (const event of events(response)) {
      end = event.choices[0]?.finish_reason ?? end;
      text += event.choices[0]?.delta.content ?? "";
      at("other").textContent = visible(text);
      at("other").hidden = !text;
    }
    say((ENDS[end] ?? "Ended.") + (text ? "" : " The answer is empty."), false, "other-status");
  } catch (error) {
    say(signal.aborted ? "Stopped." : `Not answered: ${error.message}`, !signal.aborted, "other-status");
  }
}

async function ask() {
  const asked = [...pictures];
  for (const picture of asked) picture.verdict = null;
  show();
  for (const id of ["answer", "verdict", "policies"]) at(id).hidden = true;
  at("answer").className = "";
  running = new AbortController();
  const {signal} = running;
  at("send").disabled = !(at("stop").disabled = false);
  say("The guard is reading…");
  let text = "", explaining = null, beside = null, end = "";
  try {
    const content = asked.map(picture => ({type: "image_url", image_url: {url: picture.url}}));
    content.push({type: "text", text: at("question").value});
    beside = at("other") ? compare(content, signal) : null;
    const response = await post("/v1/chat/completions", {
      messages: [{role: "user", content}], stream: true,
      moderation: {model: "holisafe", policy: {input: {mode: at("block").checked ? "block" : "score"}}},
    }, signal);
    for await (const event of events(response)) {
      if (event.moderation && !explaining) {
        explaining = explain(event, asked, signal);
        explaining.catch(() => {});  // told below
        say("Answering…");
      }
      const delta = event.choices[0]?.delta ?? {};
      end = event.choices[0]?.finish_reason ?? end;
      if (delta.refusal) at("answer").className = "refused";
      if (delta.refusal && text) text += "\n\n";
      text += delta.content ?? delta.refusal ?? "";
      if (event.answer_safety && end === "content_filter") end = "stopped";
      at("answer").textContent = visible(text);
      at("answer").hidden = !text;
    }
    await explaining;
    say((ENDS[end] ?? "Ended.") + (text ? "" : " The answer is empty."));
  } catch (error) {
    if (signal.aborted) say("Stopped.");
    else say(`Not answered: ${error.message}`, true);
  } finally {
    await beside;
    running = null;
    at("send").disabled = !(at("stop").disabled = true);
  }
}

async function explain(event, asked, signal) {
  at("verdict").hidden = false;
  if (event.moderation.input?.type === "error") {
    at("request").replaceChildren(make("p", `Not judged: ${event.moderation.input.message}`, "error"));
    return;
  }
  const response = await post("/ui/explain", {images: event.image_safety, request: event.request_safety}, signal);
  const found = await response.json();
  found.images.forEach((verdict, index) => { asked[index].verdict = verdict; });
  show();
  at("request").replaceChildren(...(found.request
    ? [...finding(found.request), bars(found.request.bars), folded("If unsafe, which category", found.request.categories)]
    : [make("p", `This guard judges pictures alone. ${asked.length ? "Their verdicts decide." : "Nothing was judged."}`)]));
  policies(found.policies);
}

function policies(found) {
  const rows = new Map();
  for (const each of found) {
    if (!rows.has(each.policy)) {
      const head = make("th", each.policy);
      head.scope = "row";
      rows.set(each.policy, make("tr", "", "", head));
    }
    rows.get(each.policy).append(
      make("td", each.does, [each.is_own ? "own" : "", each.does === "answers" ? "" : "flags"].join(" ").trim()));
  }
  at("rows").replaceChildren(...rows.values());
  const texts = new Set(found.map(each => each.text).filter(Boolean));
  at("texts").replaceChildren(...[...texts].map(each => make("li", each)));
  at("policies").hidden = false;
}

// what a person does

at("form").addEventListener("submit", event => { event.preventDefault(); if (!running) ask(); });
at("question").addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("form").requestSubmit();
});
at("stop").addEventListener("click", () => running?.abort());
at("files").addEventListener("change", event => { add(event.target.files); event.target.value = ""; });
document.addEventListener("paste", event => add(event.clipboardData.files));
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, event => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") add(event.dataTransfer.files);
  });
}
