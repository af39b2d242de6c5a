// OpenAI's library for Node.

import OpenAI from "openai";

import { serve } from "./session.mjs";

await serve(async (ask, report, signal) => {
  const maxRetries = ask.retries ?? undefined;
  const client = new OpenAI({ baseURL: ask.base_url, apiKey: "unused", maxRetries });
  const answer = await client.chat.completions.create(ask.body, { signal });
  if (ask.body.stream) {
    for await (const chunk of answer) take(chunk, chunk.choices[0]?.delta, report);
    // The library ends the iteration when its signal is aborted, and throws nothing.
    signal.throwIfAborted();
  } else {
    take(answer, answer.choices[0].message, report);
  }
  report.end();
});

function take(answer, message, report) {
  report.text(message?.content);
  for (const [position, call] of (message?.tool_calls ?? []).entries()) {
    report.call(call.index ?? position, call.function.name, call.function.arguments);
  }
  const usage = answer.usage;
  report.note({
    finish_reason: answer.choices[0]?.finish_reason,
    usage: usage && [usage.prompt_tokens, usage.completion_tokens],
  });
}
