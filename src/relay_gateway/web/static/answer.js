/**
 * One answer of the gateway: asks for it, gives its text as it comes, and says how it ended.
 *
 *   const controller = new AbortController();
 *   await readAnswer({ prompt, session_id }, controller, {
 *     onText: (text) => …,             // a token
 *     onDone: (completion) => …,       // { finish_reason, usage }: the answer is complete
 *   });
 *
 * Read by fetch and not by EventSource, for three reasons. EventSource does not show the gateway's
 * heartbeats, so a silent network looks like a model that thinks. It says nothing of the status. And
 * it connects again by itself, which runs the prompt a second time: here nothing is asked twice.
 */

import { EventStream } from "./event_stream.js";

/** Relative, so that the page also works behind a proxy that puts it under a path. */
const ENDPOINT = "api/ai/stream";

/** The gateway's settings, which it writes into the page. */
const settings = document.documentElement.dataset;

/** Bytes of UTF-8 that the gateway takes as a prompt. */
export const MAX_PROMPT_BYTES = Number(settings.maxPromptBytes);

/** Heartbeats that may be missed. */
const MISSED_HEARTBEATS = 3;

/**
 * Milliseconds between two heartbeats. Not less than a second, because a network may be late by as
 * much, and not more than a timer can wait.
 */
const HEARTBEAT = Math.min(Math.max(Number(settings.heartbeatSeconds) * 1000, 1000), 2 ** 31 - 1);

/** Milliseconds for which the gateway may wait for a first token before it sends anything. */
const HOLD = Number(settings.holdSeconds) * 1000;

/** Characters of a refusal that are shown. */
const WORDS_LIMIT = 500;

/** Milliseconds that a body may take to end after its last event. */
const END_TIME = 1000;

const SOON = "Please try again in a moment.";
const LOST = "The connection was lost before the answer was complete.";
const OFFLINE = "This device is offline.";
const SILENT =
  `Nothing has come from the gateway for ${Math.round((MISSED_HEARTBEATS * HEARTBEAT) / 1000)} seconds, ` +
  "not even a sign of life. The page has given the answer up.";
const UNREADABLE = "The gateway sent something that this page cannot read.";
const NO_GATEWAY = "Something answered in the gateway's place. Reload the page, perhaps to log in again.";
const TOO_LONG = "The prompt is too long.";

/**
 * What a status means, for a person, where its sender says nothing. The gateway does say how an answer
 * failed, so a 502, for example, that says nothing is a proxy's.
 */
const REFUSALS = {
  400: "The gateway could not read what this page sent. Reload the page, and try again.",
  401: "The gateway does not know who you are. Log in, and try again.",
  403: "The gateway does not let you ask from here.",
  404: "There is no gateway at this address.",
  405: "There is no gateway at this address.",
  408: "Sending the prompt took too long. Please try again.",
  413: TOO_LONG,
  414: TOO_LONG,
  421: "The gateway does not serve this address.",
  429: "There were too many requests.",
  431: TOO_LONG,
  500: "The gateway failed.",
  502: "A proxy could not reach the gateway.",
  503: "The service is busy or restarting.",
  504: "The gateway did not answer in time.",
};

/** Statuses of something that passes. */
const PASSING = new Set([429, 500, 502, 503, 504]);

/** Why there is no complete answer; the message is for a person. */
export class AnswerError extends Error {}

/**
 * Asks, and reads until the gateway ends the stream. Never asks a second time.
 *
 * @param {object} question - what the gateway is asked; see docs/http.md.
 * @param {AbortController} controller - aborting it ends the request, which stops the model.
 * @param {{onText: function(string), onDone: function(object)}} listener
 * @throws {AnswerError} the answer is not complete, and why.
 * @throws {DOMException} somebody has aborted the request.
 */
export async function readAnswer(question, controller, listener) {
  const watchdog = new Watchdog(() => controller.abort(new AnswerError(SILENT)));
  try {
    const response = await ask(question, controller.signal);
    await check(response);
    await readEvents(response.body.getReader(), watchdog, listener);
    setTimeout(() => controller.abort(), END_TIME); // a body ends by itself, or is not kept
  } catch (error) {
    controller.abort(); // whatever went wrong, the model is not left to write for nobody
    throw error;
  } finally {
    watchdog.stop();
  }
}

async function ask(question, signal) {
  const request = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...question, format: "json" }),
    cache: "no-store",
    redirect: "manual", // to a page where one logs in, for example: that is no answer
    signal,
  };
  try {
    return await fetch(new URL(ENDPOINT, document.baseURI), request);
  } catch (error) {
    throw networkError(error, "The gateway cannot be reached.");
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    throw networkError(error, LOST);
  }
}

/** What fetch says of a network that fails is for developers; an abort comes with its own reason. */
function networkError(error, words) {
  if (!(error instanceof TypeError)) return error;
  return new AnswerError(navigator.onLine ? words : OFFLINE);
}

async function check(response) {
  if (response.type === "opaqueredirect") throw new AnswerError(NO_GATEWAY);
  if (!response.ok) throw new AnswerError(await refusalWords(response));
  if (!isOfType(response, "text/event-stream")) throw new AnswerError(NO_GATEWAY);
}

const isOfType = (response, type) =>
  (response.headers.get("Content-Type") ?? "").split(";")[0].trim().toLowerCase() === type;

/** The gateway's own words, or what the status means where something else has answered. */
async function refusalWords(response) {
  const { cause, detail } = isOfType(response, "application/problem+json") ? await problemOf(response) : {};
  if (cause !== undefined) return String(detail); // an answer that failed: words for a person
  const { status } = response;
  const words = detail === undefined ? statusWords(status) : sentence(String(detail));
  return PASSING.has(status) ? `${words} ${againWords(response.headers.get("Retry-After"))}` : words;
}

/** RFC 9457. The watchdog ends this as well, if nothing comes. */
async function problemOf(response) {
  let text;
  try {
    text = await response.text();
  } catch (error) {
    throw networkError(error, LOST);
  }
  return payloadOf(text);
}

const statusWords = (status) => REFUSALS[status] ?? `The gateway answered with the status ${status}.`;
const sentence = (text) => `${text.slice(0, 1).toUpperCase()}${text.slice(1, WORDS_LIMIT).replace(/\.$/, "")}.`;

/** RFC 9110, section 10.2.3: seconds, or a date. */
function againWords(retryAfter) {
  if (retryAfter === null) return SOON;
  const isSeconds = /^[0-9]+$/.test(retryAfter);
  const seconds = isSeconds ? Number(retryAfter) : Math.ceil((Date.parse(retryAfter) - Date.now()) / 1000);
  if (!(seconds > 0)) return SOON; // also when it is neither
  return `Please try again in ${seconds === 1 ? "a second" : `${seconds.toLocaleString("en")} seconds`}.`;
}

async function readEvents(reader, watchdog, listener) {
  const [stream, lineEnds] = [new EventStream(), new LineEnds()];
  for (;;) {
    const { value, done } = await read(reader);
    if (done) throw new AnswerError(LOST);
    watchdog.heard(); // bytes, whatever they are: a heartbeat is a comment, and no event
    for (const { type, data } of eventsOf(stream, value)) {
      if (type === "message") listener.onText(lineEnds.asLf(textOf(data)));
      else if (type === "error") throw new AnswerError(String(payloadOf(data).message));
      else if (type === "done") return listener.onDone(payloadOf(data));
    }
  }
}

function eventsOf(stream, bytes) {
  try {
    return stream.feed(bytes);
  } catch (error) {
    throw new AnswerError(UNREADABLE, { cause: error });
  }
}

function payloadOf(data) {
  try {
    return Object(JSON.parse(data));
  } catch (error) {
    throw new AnswerError(UNREADABLE, { cause: error });
  }
}

/** A token, or what the model says instead of an answer. */
function textOf(data) {
  const { token, refusal } = payloadOf(data);
  const text = token ?? refusal;
  if (typeof text !== "string") throw new AnswerError(UNREADABLE);
  return text;
}

/** Joins a CRLF that came in two tokens, and gives each line end as LF: a page has no other. */
class LineEnds {
  #afterCr = false;

  asLf(token) {
    if (token === "") return token;
    const text = this.#afterCr && token.startsWith("\n") ? token.slice(1) : token;
    this.#afterCr = text.endsWith("\r");
    return text.replace(/\r\n?/g, "\n");
  }
}

/**
 * Notices that nothing comes any more. It counts heartbeats that are missed while the page runs, and
 * not the time of day: a device that slept for an hour has missed one.
 */
class Watchdog {
  #onSilence;
  #timer;

  constructor(onSilence) {
    this.#onSilence = onSilence;
    this.#timer = setTimeout(() => this.heard(), HOLD);
  }

  heard() {
    this.#wait(MISSED_HEARTBEATS);
  }

  stop() {
    clearTimeout(this.#timer);
  }

  #wait(left) {
    clearTimeout(this.#timer);
    this.#timer = left > 0 ? setTimeout(() => this.#wait(left - 1), HEARTBEAT) : this.#onSilence();
  }
}
