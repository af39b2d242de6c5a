// Prints an answer as it streams. Start a relay, and then this, with Node.js 22 or newer:
//
//     relay-demo --backend demo
//     node --experimental-eventsource examples/event_source/node.mjs "Why is the sky blue?"

const [prompt, gateway = "http://127.0.0.1:8080"] = process.argv.slice(2);
const source = new EventSource(`${gateway}/api/ai/stream?${new URLSearchParams({ prompt })}`);
source.onmessage = (event) => process.stdout.write(event.data);

// Left open, EventSource would connect again when the answer is over, and ask the model once more.
source.addEventListener("done", () => source.close());
source.addEventListener("error", (event) => {
  source.close();
  console.error(event.data ?? "the connection was lost");
});
