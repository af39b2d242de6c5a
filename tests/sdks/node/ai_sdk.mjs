// The AI SDK: `streamText` and `generateText` with the provider for OpenAI-compatible servers.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, streamText, tool } from "ai";

import { serve } from "./session.mjs";

await serve(async (ask, report, abortSignal) => {
  const { model, messages, stream, stream_options, tools = [], ...rest } = ask.body;
  const includeUsage = stream_options?.include_usage;
  const provider = createOpenAICompatible({ name: "relay", baseURL: ask.base_url, includeUsage });
  const question = {
    model: provider(model),
    messages,
    maxRetries: ask.retries ?? undefined,
    abortSignal,
    providerOptions: { relay: rest },
    tools: Object.fromEntries(tools.map(({ function: given }) => [given.name, described(given)])),
    onError: () => {}, // which would print it; it is also a part of the stream
  };
  if (!stream) {
    const answer = await generateText(question);
    report.text(answer.text);
    answer.toolCalls.forEach((call, index) => addCall(call, index, report));
    return end(answer, report);
  }
  const answer = streamText(question);
  let calls = 0;
  for await (const part of answer.fullStream) {
    if (part.type === "text-delta") report.text(part.text);
    if (part.type === "tool-call") addCall(part, calls++, report);
    if (part.type === "error") throw part.error;
    if (part.type === "abort") throw abortSignal.reason;
  }
  const [finishReason, usage] = [await answer.finishReason, await answer.usage];
  end({ finishReason, usage }, report);
});

function described({ description, parameters }) {
  return tool({ description, inputSchema: jsonSchema(parameters) });
}

function addCall(call, index, report) {
  report.call(index, call.toolName, JSON.stringify(call.input));
}

function end({ finishReason, usage }, report) {
  report.note({
    finish_reason: finishReason.replaceAll("-", "_"),
    usage: usage.inputTokens && [usage.inputTokens, usage.outputTokens],
  });
  report.end();
}
