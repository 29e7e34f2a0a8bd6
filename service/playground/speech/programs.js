/** Programs that recognise speech while it is spoken, or in a file: shell, Python and JavaScript. */

import { apiKey } from "../requests/api_key.js";
import { shellQuoted } from "../requests/curl.js";

/**
 * @typedef {{address: string, body: object, rateHz: number}} Exchange `body` is the message `start`
 * @type {{name: string, of: (exchange: Exchange) => string}[]}
 */
export const LIVE_PROGRAMS = [
  { name: "Shell", of: shellOf },
  { name: "curl", of: curlOf },
  { name: "Python", of: pythonOf },
  { name: "JavaScript", of: javascriptOf },
];

/** Address of the service below which `stream` lies. */
const serviceOf = (address) => address.replace(/\/stream$/, "");

function shellOf({ address, body, rateHz }) {
  const options = Object.entries(body.parameters ?? {}).map(([name, value]) => `-p ${shellQuoted(`${name}=${JSON.stringify(value)}`)}`);
  const model = body.version ? `${body.model}@${body.version}` : body.model;
  const parts = [`unroll transcribe - --model ${shellQuoted(model)} --url ${shellQuoted(serviceOf(address))}`, ...options];
  const key = apiKey() ? "# the key is read from UNROLL_API_KEY\n" : "";
  return `${key}arecord -q -t raw -f S16_LE -c 1 -r ${rateHz} |\n  ${parts.join(" \\\n  ")}`;
}

/** curl sends no stream over a WebSocket that answers while it grows: a whole file. */
function curlOf({ address, body }) {
  const json = JSON.stringify({ ...body, inputs: { wav: "FILE-GOES-HERE" } });
  const format = json.replaceAll("\\", "\\\\").replaceAll("%", "%%").replace("FILE-GOES-HERE", "%s");
  const key = apiKey() ? ' \\\n  -H "Authorization: Bearer $UNROLL_API_KEY"' : "";
  return `# a whole file; arecord -f S16_LE -d 5 sound.wav makes one
printf ${shellQuoted(format)} "$(base64 < sound.wav | tr -d '\\n')" |
curl -s ${shellQuoted(`${serviceOf(address)}/predict`)}${key} \\
  -H 'Content-Type: application/json' -d @-`;
}

function pythonOf({ address, body, rateHz }) {
  const parameters = Object.entries(body.parameters ?? {}).map(([name, value]) => `, ${name}=${pythonLiteral(value)}`);
  return `# arecord -q -t raw -f S16_LE -c 1 -r ${rateHz} | python live.py
import sys

from service.client import Client, transcribe

pieces = iter(lambda: sys.stdin.buffer.read(${Math.round(rateHz / 10) * 2}), b"")  # 100 ms each
with Client(${JSON.stringify(serviceOf(address))}) as client:
    for heard in transcribe(client, pieces, model=${JSON.stringify(body.model)}, sample_rate_hz=${rateHz}${parameters.join("")}):
        print(heard.text, end="\\n" if heard.is_final else "\\r", flush=True)`;
}

function javascriptOf({ address, body, rateHz }) {
  const start = { type: "start", ...body, encoding: "pcm_s16le", sample_rate_hz: rateHz };
  return `const socket = new WebSocket(${JSON.stringify(address.replace(/^http/, "ws"))});
socket.onopen = () => socket.send(JSON.stringify(${JSON.stringify(start)}));
socket.onmessage = ({ data }) => {
  for (const heard of JSON.parse(data).predictions ?? []) console.log(heard.is_final, heard.text);
};
// then, as they come: socket.send(samples), an Int16Array; at the end: socket.send('{"type": "end"}')`;
}

function pythonLiteral(value) {
  if (Array.isArray(value)) return `[${value.map(pythonLiteral).join(", ")}]`;
  if (typeof value === "boolean") return value ? "True" : "False";
  return JSON.stringify(value);
}
