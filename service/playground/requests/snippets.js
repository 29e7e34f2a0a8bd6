/** A request as a program: curl, Python and JavaScript, without packages to install. */

import { apiKey } from "./api_key.js";
import { curlCommand, curlCommandWithFile } from "./curl.js";

/**
 * @typedef {object} Exchange
 * @property {string} address
 * @property {object} body
 * @property {boolean} isStream answered with server-sent events
 * @property {import("./attachment.js").Attachment|null} attachment part of the body that is read from a file
 */

/** @type {{name: string, of: (exchange: Exchange) => string}[]} */
export const LANGUAGES = [
  { name: "curl", of: curlOf },
  { name: "Python", of: pythonOf },
  { name: "JavaScript", of: javascriptOf },
];

function curlOf({ address, body, isStream, attachment }) {
  return attachment ? curlCommandWithFile(address, body, attachment) : curlCommand(address, body, isStream);
}

/** Body with the expression `read` in the place of the file, in the notation of `literal`. */
function bodyWith({ body, attachment }, literal, { file, whole }) {
  if (!attachment) return literal(body);
  const { name, field } = attachment;
  if (!field) return whole(name);
  return literal({ ...body, inputs: { ...body.inputs, [field]: new Expression(file(name)) } });
}

/** Part of a program in a literal, written as it is. */
class Expression {
  constructor(text) {
    this.text = text;
  }
}

function literalWith(words, value) {
  const part = (inner) => literalWith(words, inner);
  if (value instanceof Expression) return value.text;
  if (Array.isArray(value)) return `[${value.map(part).join(", ")}]`;
  if (value === null || typeof value === "boolean") return words[String(value)];
  if (typeof value !== "object") return JSON.stringify(value);
  const pairs = Object.entries(value).filter(([, inner]) => inner !== undefined);
  return `{${pairs.map(([key, inner]) => `${JSON.stringify(key)}: ${part(inner)}`).join(", ")}}`;
}

const pythonLiteral = (value) => literalWith({ null: "None", true: "True", false: "False" }, value);
const javascriptLiteral = (value) => literalWith({ null: "null", true: "true", false: "false" }, value);

const PYTHON_STREAM = `    for line in answer:
        if line.startswith(b"data:"):
            token = json.loads(line[5:])["token"]
            print("" if token["special"] else token["text"], end="", flush=True)`;

function pythonOf(exchange) {
  const file = (name) => `base64.b64encode(open(${JSON.stringify(name)}, "rb").read()).decode()`;
  const whole = (name) => `json.load(open(${JSON.stringify(name)}))`;
  const body = bodyWith(exchange, pythonLiteral, { file, whole });
  const modules = [...(exchange.attachment?.field ? ["base64"] : []), "json", ...(apiKey() ? ["os"] : [])];
  const imports = modules.map((name) => `import ${name}`).join("\n");
  const key = apiKey() ? ', "Authorization": "Bearer " + os.environ["UNROLL_API_KEY"]' : "";
  const read = exchange.isStream ? PYTHON_STREAM : "    print(json.load(answer))";
  return `${imports}
from urllib.request import Request, urlopen

body = ${body}
headers = {"Content-Type": "application/json"${key}}
with urlopen(Request(${JSON.stringify(exchange.address)}, json.dumps(body).encode(), headers)) as answer:
${read}`;
}

const JAVASCRIPT_STREAM = `let rest = "";
for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
  const events = (rest + part).split("\\n\\n");
  rest = events.pop();
  for (const event of events) {
    const { token } = JSON.parse(event.slice("data:".length));
    if (!token.special) console.log(token.text);
  }
}`;

function javascriptOf(exchange) {
  const file = (name) => `await readFile(${JSON.stringify(name)}, "base64")`;
  const whole = (name) => `JSON.parse(await readFile(${JSON.stringify(name)}, "utf8"))`;
  const body = bodyWith(exchange, javascriptLiteral, { file, whole });
  const imports = exchange.attachment ? 'import { readFile } from "node:fs/promises";\n\n' : "";
  const key = apiKey() ? ", Authorization: `Bearer ${process.env.UNROLL_API_KEY}`" : "";
  return `${imports}const body = ${body};
const answer = await fetch(${JSON.stringify(exchange.address)}, {
  method: "POST",
  headers: { "Content-Type": "application/json"${key} },
  body: JSON.stringify(body),
});
${exchange.isStream ? JAVASCRIPT_STREAM : "console.log(await answer.json());"}`;
}
