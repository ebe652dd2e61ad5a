// The gallery: every sample, searched and shown page by page once the section is unfolded.

const PER_PAGE = 24;
const SIGNS = { right: "✓", wrong: "✗" };
const gallery = { data: null, texts: [], found: [], page: 0, only: null };
const finder = document.getElementById("finder");
const field = (name) => document.getElementById(`find-${name}`);

const judgeAt = (judge) => String(gallery.data.judges.indexOf(judge));
const ofJudge = (element, judge) => {
  element.dataset.judge = judgeAt(judge);
  return element;
};

const picture = (sample, [source, width, height, label]) => {
  if (width === undefined) return make("p", "missing", `Image not available: ${source}`);
  const image = (name, address, words) => {
    const made = make("img", name);
    Object.assign(made, { width, height, alt: words, loading: "lazy", src: address });
    return made;
  };
  const pill = make("span", "pill");
  pill.ariaHidden = "true";
  const summary = make("summary", "", image("veil", source, ""), pill);
  summary.ariaLabel = `Sample ${sample.id}, image labelled ${label}: blurred, open to see it`;
  return make("details", "picture", summary, image("clear", `${source}#clear`, `Image labelled ${label}`));
};

const cutText = (tag, name, text, more) => {
  const made = make(tag, name, text);
  made.dir = "auto";
  if (more) made.append(make("span", "cut", `[${more.toLocaleString("en")} more characters; the run folder has them]`));
  return made;
};

const answerOf = (answer) => {
  const [letter, name] = gallery.data.runs[answer.run];
  const made = make("div", "answer", make("p", "tags", make("span", "letter", letter), " ", make("span", "name", name),
    ...(answer.epoch ? [" ", make("span", "epoch", `epoch ${answer.epoch}`)] : [])));
  made.append(make("p", "tags", ...answer.marks.map(([judge, outcome, kind]) =>
    ofJudge(make("span", `tag ${kind.replace(" ", "-")}`, `${SIGNS[kind] ?? "?"} ${judge}: ${outcome} `,
      make("span", "sr", `(${kind})`)), judge))));
  if (answer.guard) {
    made.append(make("p", "tags verdicts", make("span", "run", "guard "), ...answer.guard.map(([subject, words, flagged]) =>
      make("span", flagged ? "tag flagged" : "tag", `${flagged ? "⚑ " : ""}${subject}: ${words}`))));
  }
  if (answer.error !== undefined) made.append(make("p", "missing", `No answer${answer.error && ": "}${answer.error}`));
  else if (answer.text === "") made.append(make("p", "missing", "The answer is empty."));
  else if (answer.text !== undefined) made.append(cutText("blockquote", "", answer.text, answer.more));
  if (answer.cut) made.append(make("p", "meta", "cut at the token limit"));
  for (const [judge, , , rationale] of answer.marks) {
    if (rationale) made.append(ofJudge(make("p", "meta", `${judge} decided by: “${rationale}”`), judge));
  }
  return made;
};

const verdictsOf = (sample) => gallery.data.judges.flatMap((judge) => {
  const tags = sample.answers.flatMap((answer) => {
    const [letter, name] = gallery.data.runs[answer.run];
    return answer.marks.filter(([by]) => by === judge).flatMap(([, outcome, kind]) => {
      const tag = make("span", `tag ${kind.replace(" ", "-")}`, `${letter} ${SIGNS[kind] ?? "?"}`, make("span", "sr", kind));
      tag.title = `${name}${answer.epoch ? `, epoch ${answer.epoch}` : ""}: ${outcome}`;
      return [tag, " "];
    });
  });
  return tags.length ? [ofJudge(make("p", "tags short", ...tags, make("span", "run", judge)), judge)] : [];
});

const cardOf = (sample) => {
  const card = make("li", "card");
  if (sample.images) card.append(make("div", "pictures", ...sample.images.map((each) => picture(sample, each))));
  if (sample.query !== undefined) card.append(cutText("p", "query", sample.query, sample.more));
  card.append(...verdictsOf(sample));
  const side = make("div", "side");
  const words = sample.answers.length > 1 ? "Answers, side by side" : "Answer";
  const fold = make("details", "answers", make("summary", "", words), side);
  fold.addEventListener("toggle", () => {
    if (side.childElementCount) return;
    side.append(...sample.answers.map(answerOf));
    applyChoice(side);
  });
  const meta = make("p", "meta", sample.topic && `${sample.topic} · `, `expected: ${sample.expected} · `, make("span", "id", sample.id));
  if (sample.source) meta.append(make("br"), sample.source);
  card.append(fold, meta);
  if (sample.twin !== undefined) {
    const button = make("button", "link", "Show with its twin");
    button.type = "button";
    button.addEventListener("click", () => search([gallery.data.samples.indexOf(sample), sample.twin]));
    card.append(button);
  }
  return card;
};

const kindsOf = (sample) => sample.answers.map((answer) =>
  answer.marks.filter(([judge]) => chosen.judge === "" || judgeAt(judge) === chosen.judge).map(([, , kind]) => kind).join());

const holds = (sample, kind) => {
  if (kind === "") return true;
  const kinds = kindsOf(sample);
  if (kind === "differ") return new Set(kinds).size > 1;
  return sample.answers.some((answer, at) => (kind === "wrong" || answer.run === Number(kind)) && kinds[at].includes("wrong"));
};

/** Samples by what the fields say; or those of `only`, until a field changes. */
const search = (only = null) => {
  const words = field("text").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [kind, part, tag] = ["kind", "part", "tag"].map((name) => field(name).value);
  gallery.only = only;
  gallery.page = 0;
  gallery.found = only ?? [...gallery.texts.keys()].filter((at) => {
    const sample = gallery.data.samples[at];
    return (part === "" || sample.part === Number(part)) && (tag === "" || sample.tags.includes(Number(tag)))
      && words.every((word) => gallery.texts[at].includes(word)) && holds(sample, kind);
  });
  show();
};

const show = () => {
  const pages = Math.max(1, Math.ceil(gallery.found.length / PER_PAGE));
  const cards = gallery.found.slice(gallery.page * PER_PAGE, (gallery.page + 1) * PER_PAGE);
  const results = document.getElementById("results");
  results.replaceChildren(...cards.map((at) => cardOf(gallery.data.samples[at])));
  applyChoice(results);
  const found = gallery.only ? "A sample and its twin." : `${gallery.found.length.toLocaleString("en")} of ${gallery.texts.length.toLocaleString("en")} samples, wrong answers first.`;
  document.getElementById("found").textContent = found;
  document.getElementById("page").textContent = `Page ${gallery.page + 1} of ${pages}`;
  document.getElementById("page-before").disabled = gallery.page === 0;
  document.getElementById("page-after").disabled = gallery.page + 1 >= pages;
};

const turn = (step) => {
  gallery.page += step;
  show();
  finder.scrollIntoView();
};

const textOf = (sample) => [sample.id, sample.topic, sample.query, ...sample.answers.map((answer) => answer.text)]
  .filter(Boolean).join("\n").toLowerCase();

const startGallery = async () => {
  gallery.data = await unpack("samples");
  document.getElementById("too-many").hidden = gallery.data !== null;
  if (!gallery.data) return;
  gallery.texts = gallery.data.samples.map(textOf);
  gallery.data.tags.forEach((tag, at) => field("tag").append(new Option(tag, String(at))));
  if (gallery.data.longest < gallery.data.whole) {
    document.getElementById("cut").textContent = `To keep this file small, texts are cut after ${gallery.data.longest} characters; the run folder has them whole.`;
  }
  for (const name of ["text", "kind", "part", "tag"]) field(name).addEventListener("input", () => search());
  document.getElementById("page-before").addEventListener("click", () => turn(-1));
  document.getElementById("page-after").addEventListener("click", () => turn(1));
  document.getElementById("pick-judge")?.addEventListener("change", () => search());
  document.getElementById("selection").remove();
  finder.hidden = false;
  search();
};

const galleryPart = one("#gallery > details");
let started;
const start = () => {
  if (galleryPart.open) started ??= startGallery();
};
galleryPart.addEventListener("toggle", start);
start();
