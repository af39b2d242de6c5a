/**
 * The page of the gateway: sends a prompt, shows the answer as it streams, and says how it ended.
 */

import { AnswerError, MAX_PROMPT_BYTES, readAnswer } from "./answer.js";
import { MarkdownView } from "./markdown.js";

/** The share of the longest prompt from which the page shows how full this one is. */
const LIMIT_SHOWN_FROM = 0.75;

/** Exchanges kept on the page; at the limit the oldest makes room for the newest. */
const HISTORY_LIMIT = 100;

/** Milliseconds between two looks at the clock while no token comes. */
const CLOCK_INTERVAL = 100;

/** Milliseconds of flowing tokens from which a rate says something about the model. */
const RATE_TIME = 100;

/** Pixels from the bottom within which a reader who scrolls down is taken to have arrived. */
const BOTTOM_MARGIN = 96;

const STATE_WORDS = {
  waiting: "Waiting for the first token",
  streaming: "Streaming",
  done: "Done",
  cut: "Cut at the length limit",
  withheld: "Stopped by a content filter",
  ended: "Ended by the model",
  stopped: "Stopped by you",
  error: "Ended with an error",
};

/** What a finish reason means: the state, and what to know of an answer with text, and without. */
const ENDINGS = {
  stop: ["done", "", "The model ended without writing anything."],
  length: [
    "cut",
    "The answer is as long as the model may make it, and not complete.",
    "The model used all that it may write before any text came, perhaps on reasoning.",
  ],
  content_filter: [
    "withheld",
    "The rest of the answer was withheld.",
    "The answer was withheld, or the model refused to give one.",
  ],
  other: [
    "ended",
    "The model ended the answer for a reason of its own. It may not be complete.",
    "The model ended for a reason of its own before any text came.",
  ],
};

const byId = (id) => document.getElementById(id);
const form = byId("composer");
const promptBox = byId("prompt");
const sendButton = byId("send");
const stopButton = byId("stop");
const limitLine = byId("limit");
const noticeLine = byId("notice");
const announcer = byId("announcer");
const welcome = byId("welcome");
const historySection = byId("history");
const exchangeTemplate = byId("exchange");

const sessionId = randomId();

/** The exchange that is under way, or null. There is never more than one. */
let current = null;

/** Whether the reader is at the bottom, and so wants to see new text arrive. */
let following = true;
let lastScroll = 0;

/** 128 random bits. `crypto.randomUUID` is missing on a plain http origin that is not localhost. */
function randomId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const grouped = (number, digits = 0) =>
  number.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const plural = (count, noun) => `${grouped(count)} ${noun}${count === 1 ? "" : "s"}`;
const inSeconds = (milliseconds, digits) => `${grouped(milliseconds / 1000, digits)} s`;

/** Writes only what changed: an equal text costs no layout. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** What the figures under an answer are made of. Times are in milliseconds. */
class Figures {
  tokens = 0;
  #started = performance.now();
  #firstToken = null;
  #lastToken = null;
  #ended = null;

  countToken() {
    this.#lastToken = performance.now();
    this.#firstToken ??= this.#lastToken;
    this.tokens += 1;
  }

  end() {
    this.#ended = performance.now();
  }

  get elapsed() {
    return (this.#ended ?? performance.now()) - this.#started;
  }

  /** Tokens per second once they flow: the wait for the first one is a figure of its own. */
  get rate() {
    const time = this.#lastToken - this.#firstToken;
    return time >= RATE_TIME ? ((this.tokens - 1) * 1000) / time : null;
  }

  /** The figures as a reader sees them, by the name of their place on the page. */
  get words() {
    return {
      tokens: grouped(this.tokens),
      rate: this.rate === null ? "–" : `${grouped(this.rate, this.rate < 100 ? 1 : 0)} tokens/s`,
      first: this.#firstToken === null ? "–" : inSeconds(this.#firstToken - this.#started, 2),
      elapsed: inSeconds(this.elapsed, this.#ended === null ? 1 : 2),
    };
  }
}

/** The article that shows one prompt and its answer. Knows nothing of connections. */
class ExchangeView {
  #article = exchangeTemplate.content.cloneNode(true).firstElementChild;
  #answer = this.#find(".answer");
  #markdown = new MarkdownView(this.#answer);

  constructor(number, prompt) {
    const heading = this.#find("h2");
    heading.id = `prompt-${number}`;
    heading.textContent = `Prompt ${number}`;
    this.#article.setAttribute("aria-labelledby", heading.id);
    this.#find(".prompt").textContent = prompt;
    this.#find(".again").addEventListener("click", () => writePrompt(prompt));
    historySection.append(this.#article);
    if (historySection.childElementCount > HISTORY_LIMIT) historySection.firstElementChild.remove();
  }

  #find(selector) {
    return this.#article.querySelector(selector);
  }

  /** Markdown. Nothing the model writes is ever read as HTML. */
  append(text) {
    this.#markdown.append(text);
  }

  /** The model's own count, which is known at the end. */
  showUsage({ prompt_tokens: read = 0, completion_tokens: written = 0 }) {
    this.#find(".usage").hidden = false;
    setText(this.#find("[data-stat=usage]"), `${grouped(read)} read, ${grouped(written)} written`);
  }

  showFigures(words) {
    for (const [name, text] of Object.entries(words)) setText(this.#find(`[data-stat=${name}]`), text);
  }

  showState(state) {
    const running = state === "waiting" || state === "streaming";
    this.#article.dataset.state = state;
    this.#answer.setAttribute("aria-busy", String(running));
    this.#find(".state").textContent = STATE_WORDS[state];
    this.#find(".again").hidden = running || state === "done";
  }

  /** Says in words what a person should know about the end. */
  showProblem(words) {
    const problem = this.#find(".problem");
    problem.textContent = words;
    problem.hidden = words === "";
  }
}

/** One prompt on its way: the request, the text not yet drawn, and the figures. */
class Exchange {
  static #count = 0;

  #figures = new Figures();
  #view;
  #controller = new AbortController();
  #isRunning = true;
  /** Text that came since the last frame; a frame draws it whole, however many tokens it is. */
  #undrawn = "";
  #hasText = false;
  #frame = 0;
  #clock;

  constructor(prompt) {
    this.#view = new ExchangeView((Exchange.#count += 1), prompt);
    this.#enter("waiting");
    this.#clock = setInterval(() => this.#drawSoon(), CLOCK_INTERVAL);
    this.#draw();
    this.#read({ prompt, session_id: sessionId });
  }

  async #read(question) {
    const listener = {
      onText: (text) => this.#receive(text),
      onDone: (completion) => this.#complete(completion),
    };
    try {
      await readAnswer(question, this.#controller, listener);
    } catch (error) {
      if (!this.#isRunning) return; // stopped
      this.#end("error", error instanceof AnswerError ? error.message : "This page has failed.");
      if (!(error instanceof AnswerError)) throw error; // a fault of ours, for the console
    }
  }

  #receive(text) {
    if (!this.#isRunning) return;
    if (this.#figures.tokens === 0) this.#enter("streaming");
    this.#figures.countToken();
    this.#hasText ||= text !== "";
    this.#undrawn += text;
    this.#drawSoon();
  }

  #complete({ finish_reason: reason, usage }) {
    if (!this.#isRunning) return;
    const [state, words, wordsWithoutText] = ENDINGS[reason ?? "stop"] ?? ENDINGS.other;
    if (usage) this.#view.showUsage(usage);
    this.#end(state, this.#hasText ? words : wordsWithoutText);
  }

  /** Ends the request, which is what stops the model. */
  stop() {
    this.#controller.abort();
    this.#end("stopped");
  }

  #end(state, problem = "") {
    this.#isRunning = false;
    clearInterval(this.#clock);
    this.#figures.end();
    this.#draw();
    this.#view.showProblem(problem);
    this.#enter(state, problem);
    finished(this);
    scrollToEnd();
  }

  #enter(state, problem = "") {
    this.#view.showState(state);
    document.body.dataset.state = state;
    announce(state, problem, this.#figures);
  }

  #drawSoon() {
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (this.#undrawn !== "") this.#view.append(this.#undrawn);
    this.#undrawn = "";
    this.#view.showFigures(this.#figures.words);
    scrollToEnd();
  }
}

/** Tells a screen reader about a new state, and never about a token. */
function announce(state, problem, figures) {
  const counted = `${plural(figures.tokens, "token")} in ${inSeconds(figures.elapsed, 1)}.`;
  const ended = state === "waiting" || state === "streaming" ? "" : counted;
  announcer.textContent = [`${STATE_WORDS[state]}.`, problem, ended].filter(Boolean).join(" ");
}

function send(text) {
  const problem = problemWith(text);
  noticeLine.textContent = problem;
  if (problem !== "") return;
  welcome.hidden = true;
  if (promptBox.value === text) promptBox.value = ""; // a draft survives a click on an example
  showLimit();
  following = true;
  current = new Exchange(text);
  swapButtons(sendButton, stopButton);
}

/** Why a prompt cannot be sent now, in words; empty when it can. */
function problemWith(text) {
  if (current !== null) return "An answer is still on its way. Stop it first, or wait for its end.";
  if (text.trim() === "") return "Type a prompt first.";
  return isTooLong(text) ? "The prompt is too long to send. Please shorten it." : "";
}

function stop() {
  current?.stop();
}

function finished(exchange) {
  if (current !== exchange) return;
  current = null;
  noticeLine.textContent = "";
  swapButtons(stopButton, sendButton);
}

/** Shows one button in the place of the other, and leaves the keyboard where it was. */
function swapButtons(before, after) {
  const focused = document.activeElement === before;
  after.hidden = false;
  before.hidden = true;
  if (focused) after.focus();
}

function writePrompt(text) {
  promptBox.value = text;
  showLimit();
  promptBox.focus();
}

/** Bytes count: a letter beyond ASCII has 2 to 4. */
const sizeOf = (text) => new TextEncoder().encode(text).length;
const fullness = (text) => sizeOf(text) / MAX_PROMPT_BYTES;
const isTooLong = (text) => fullness(text) > 1;

function limitWords(text) {
  const full = fullness(text);
  if (full <= 1) return `${Math.floor(full * 100)}% of the longest prompt`;
  const excess = Math.ceil((text.length * (sizeOf(text) - MAX_PROMPT_BYTES)) / sizeOf(text));
  return `About ${plural(excess, "character")} too long`;
}

function showLimit() {
  const text = promptBox.value;
  limitLine.hidden = fullness(text) < LIMIT_SHOWN_FROM;
  limitLine.classList.toggle("over", isTooLong(text));
  promptBox.setAttribute("aria-invalid", String(isTooLong(text)));
  setText(limitLine, limitLine.hidden ? "" : limitWords(text));
}

/**
 * Follows new text only for a reader who is at the bottom. Any step up lets go, however small:
 * with a margin the page would pull back a reader whose wheel moves a few pixels a frame.
 */
function watchScroll() {
  const root = document.documentElement;
  const distance = root.scrollHeight - root.clientHeight - window.scrollY;
  following = distance <= (window.scrollY < lastScroll ? 1 : BOTTOM_MARGIN);
  lastScroll = window.scrollY;
}

function scrollToEnd() {
  if (following) window.scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
}

/**
 * While an input method is at work, Enter picks a candidate and Escape drops it. Safari has already
 * ended the composition when it tells of that Enter, and only 229 gives it away (WebKit bug 165004).
 */
const isComposing = (event) => event.isComposing || event.keyCode === 229;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  send(promptBox.value);
});

promptBox.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || isComposing(event)) return;
  event.preventDefault();
  if (!event.repeat) send(promptBox.value);
});

promptBox.addEventListener("input", () => {
  noticeLine.textContent = "";
  showLimit();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !isComposing(event)) stop();
});

stopButton.addEventListener("click", (event) => {
  // Stop takes the place of Send, so the second half of a double click on Send lands here.
  if (event.detail !== 2) stop();
});

welcome.addEventListener("click", (event) => {
  if (!(event.target instanceof HTMLButtonElement)) return;
  send(event.target.textContent);
  stopButton.focus();
});

document.addEventListener("scroll", watchScroll, { passive: true });
// A page kept for the back button must not come back with an answer that has silently stopped.
window.addEventListener("pagehide", stop);
showLimit();
