/**
 * The parser of an event stream, as WHATWG HTML has it (section 9.2.6, "Interpreting an event
 * stream"). It knows neither the network nor the page. For example:
 *
 *   const stream = new EventStream();
 *   stream.feed(bytes);    // [{ type: "message", data: "Hello", lastEventId: "" }]
 */

/** Characters of one event, ended or not; a longer one is an attack, or no event stream at all. */
export const EVENT_LIMIT = 16 * 1024 * 1024;

const LINE_END = /\r\n|\n|\r/;

export class EventStream {
  /** Leaves out one byte order mark at the start, and reads what is no UTF-8 as U+FFFD. */
  #decoder = new TextDecoder();
  /** The beginning of a line that has not ended. */
  #line = "";
  /** The last character was a CR: a LF that follows it belongs to the same line end. */
  #afterCr = false;
  #type = "";
  #data = "";
  #lastEventId = "";

  /**
   * Takes bytes, cut anywhere, and gives the events that they complete. An event that the stream
   * ends within is never given.
   *
   * @param {Uint8Array} bytes
   * @returns {{type: string, data: string, lastEventId: string}[]}
   * @throws {RangeError} an event has more than EVENT_LIMIT characters.
   */
  feed(bytes) {
    const events = [];
    for (const line of this.#linesOf(this.#decoder.decode(bytes, { stream: true }))) {
      if (line === "") this.#dispatch(events);
      else this.#interpret(line);
      this.#checkSize();
    }
    this.#checkSize();
    return events;
  }

  /** The lines that `text` completes. */
  #linesOf(text) {
    if (text === "") return []; // the CR, if there was one, is still the last character
    const rest = this.#afterCr && text.startsWith("\n") ? text.slice(1) : text;
    this.#afterCr = text.endsWith("\r");
    const lines = rest.split(LINE_END);
    lines[0] = this.#line + lines[0];
    this.#line = lines.pop();
    return lines;
  }

  #interpret(line) {
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment
    if (colon === -1) return this.#process(line, "");
    const value = line.slice(colon + 1);
    this.#process(line.slice(0, colon), value.startsWith(" ") ? value.slice(1) : value);
  }

  /** `retry` means nothing here: it is for a client that connects again by itself. */
  #process(field, value) {
    if (field === "event") this.#type = value;
    else if (field === "data") this.#data += `${value}\n`;
    else if (field === "id" && !value.includes("\0")) this.#lastEventId = value;
  }

  #dispatch(events) {
    const [type, data] = [this.#type || "message", this.#data];
    this.#type = this.#data = "";
    if (data !== "") events.push({ type, data: data.slice(0, -1), lastEventId: this.#lastEventId });
  }

  #checkSize() {
    if (this.#line.length + this.#data.length > EVENT_LIMIT) throw new RangeError("an event is too long");
  }
}
