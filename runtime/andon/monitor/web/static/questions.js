// Ask about parts that were chosen at random, one after the other. The verdict of a part is never in the page.

const COUNT_MS = 10000;
let counted = -COUNT_MS;

// Show the number of open questions on the page of a line, at most every ten seconds.
export async function countQuestions(line, text) {
  const place = document.getElementById("open-questions");
  if (!place || performance.now() - counted < COUNT_MS) return;
  counted = performance.now();
  try {
    const answer = await fetch(`/lines/${encodeURIComponent(line)}/question`);
    if (!answer.ok) return;
    const { open } = (await answer.json()).sample;
    place.textContent = open ? text("sample.waiting", { open }) : text("sample.page");
    place.classList.toggle("waiting", open > 0);
  } catch { /* the connection is lost; its banner shows this */ }
}

export function askQuestions({ text, act, drawCsv, made }) {
  const place = document.getElementById("question");
  if (!place) return;
  const line = place.dataset.line;
  const byId = (id) => document.getElementById(id);
  let shown = 0;

  async function next(after) {
    const answer = await fetch(`/lines/${encodeURIComponent(line)}/question?after=${after}`);
    if (!answer.ok) return;
    const { sample, question } = await answer.json();
    // an answer that was just given may not be counted yet, so the numbers come with the next question
    byId("asked-numbers").textContent = text("sample.numbers", { ...sample, answered: sample.asked - sample.open });
    byId("asked").hidden = !question;
    byId("asked-none").hidden = Boolean(question);
    if (question && question.seq !== shown) show(question);
  }

  function show(question) {
    shown = question.seq;
    byId("asked-at").textContent = new Date(question.at).toLocaleString();
    byId("asked-at").dateTime = question.at;
    byId("asked-item").textContent = question.item;
    byId("asked-picture").replaceChildren(...question.files.map((file) => {
      const address = `/events/${question.seq}/evidence/${file.number}`;
      if (file.is_picture) return made("img", { src: address, alt: text("sample.alt") });
      const curves = made("div", { class: "csv", "data-csv": address });
      drawCsv(curves);
      return curves;
    }));
    if (!question.files.length) byId("asked-picture").textContent = text("sample.no_picture");
  }

  for (const button of place.querySelectorAll("[data-answer]")) {
    button.addEventListener("click", async () => {
      const seq = shown;
      if (await act("confirm-event", { line, event: seq, truth: button.dataset.answer })) await next(seq);
    });
  }
  next(0);
  // the next question may come later
  setInterval(() => { if (!document.hidden && byId("asked").hidden) next(shown); }, 5000);
}
