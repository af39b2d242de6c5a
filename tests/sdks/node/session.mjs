// What the programs of Node's libraries share; programs/session.py says what a command and an
// answer are.

import { createInterface } from "node:readline";

/** Tells of one run. */
class Report {
  #run;
  #text = "";
  #calls = [];
  #rest = {};

  constructor(run) {
    this.#run = run;
  }

  text(text) {
    if (text) {
      this.#text += text;
      this.tell("text", { text });
    }
  }

  call(index, name, args) {
    const call = (this.#calls[index] ??= { name: "", arguments: "" });
    call.name += name ?? "";
    call.arguments += args ?? "";
  }

  note(fields) {
    for (const [name, value] of Object.entries(fields)) {
      if (value != null) this.#rest[name] = value;
    }
  }

  end() {
    const calls = this.#calls.map((call) => ({ ...call, arguments: JSON.parse(call.arguments) }));
    this.tell("end", { text: this.#text, calls, ...this.#rest });
  }

  failed(error) {
    const known = error.lastError ?? error; // of the AI SDK, when it has repeated a request
    const body = known.data?.error ?? known;
    const headers = known.responseHeaders ?? Object.fromEntries(known.headers ?? []);
    this.tell("failed", {
      raised: known.constructor.name,
      message: String(known.message),
      status: known.status ?? known.statusCode ?? null,
      code: body.code ?? null,
      param: body.param ?? null,
      retry_after: headers["retry-after"] ?? null,
    });
  }

  tell(event, fields = {}) {
    process.stdout.write(JSON.stringify({ run: this.#run, event, ...fields }) + "\n");
  }
}

/** Carries commands out, one after the other; SIGINT aborts the signal that each is given. */
export async function serve(complete) {
  let controller;
  process.on("SIGINT", () => controller?.abort());
  process.stdout.write('{"event": "ready"}\n');
  for await (const line of createInterface({ input: process.stdin })) {
    const ask = JSON.parse(line);
    const report = new Report(ask.run);
    controller = new AbortController();
    try {
      await complete(ask, report, controller.signal);
    } catch (error) {
      if (controller.signal.aborted) report.tell("aborted");
      else report.failed(error);
    }
    report.tell("over");
  }
}
