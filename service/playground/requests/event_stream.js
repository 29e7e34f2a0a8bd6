/** Server-sent events with JSON data from the body of a POST request, since EventSource supports only GET. */

/**
 * Split complete events from the start of a buffer; returns them and the rest.
 * @param {string} buffer
 * @returns {[string[], string]}
 */
export function takeEvents(buffer) {
  const blocks = buffer.split(/\r?\n\r?\n/);
  const rest = blocks.pop();
  return [blocks.map(dataOf).filter((data) => data !== ""), rest];
}

function dataOf(block) {
  const lines = block.split(/\r?\n/).filter((line) => line.startsWith("data:"));
  return lines.map((line) => line.slice("data:".length).replace(/^ /, "")).join("\n");
}

/**
 * Yield events in the batches in which they arrive.
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<object[]>}
 */
export async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const [events, rest] = takeEvents(buffer + value);
    buffer = rest;
    if (events.length) yield events.map((event) => JSON.parse(event));
  }
}
