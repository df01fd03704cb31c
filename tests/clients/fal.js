// fal's JavaScript client, unmodified. Prints what it saw as JSON: `node fal.js URL middleware|proxy`.
import { createFalClient } from '@fal-ai/client';

const [url, way] = process.argv.slice(2);
const APP = 'local/postcard';
const input = {
  prompt: 'a red house in a green field',
  num_inference_steps: 6,
  preview_every: 2,
  width: 64,
  height: 64,
  seed: 7,
};
const long = { ...input, num_inference_steps: 50, width: 256, height: 256 };
const wrong = { ...input, width: 65 };

const HERE = { 'https://queue.fal.run': `${url}/queue`, 'https://fal.run': url, 'https://rest.fal.ai': `${url}/fal` };

async function comeHere(request) {
  const [from, to] = Object.entries(HERE).find(([from]) => request.url.startsWith(from));
  return { ...request, url: request.url.replace(from, to) };
}

const fal = createFalClient(
  way === 'proxy'
    ? { proxyUrl: { url: `${url}/fal/proxy`, when: 'always' } }
    : { credentials: 'none', requestMiddleware: comeHere },
);

// The address of its WebSockets cannot be configured.
const WebSocketThere = globalThis.WebSocket;
globalThis.WebSocket = class extends WebSocketThere {
  constructor(address) {
    super(address.replace('wss://fal.run', url.replace('http', 'ws')));
  }
};

const outline = (output) => ({
  seed: output.seed,
  images: output.images.map(({ content_type, width, height }) => ({ content_type, width, height })),
  isDataUrl: output.images.every((image) => image.url.startsWith('data:image/jpeg;base64,')),
});

const problem = ({ name, status, message, body }) => ({ name, status, message, code: body?.error?.code });

async function failing(work) {
  try {
    await work();
  } catch (error) {
    return problem(error);
  }
  return null;
}

async function stream() {
  const stream = await fal.stream(APP, { input });
  const steps = [];
  for await (const event of stream) steps.push(event.step);
  const last = await stream.done();
  return { steps, step: last.step, ...outline(last) };
}

async function run() {
  const { data, requestId } = await fal.run(APP, { input });
  return { ...outline(data), hasRequestId: requestId !== '' };
}

async function subscribe(mode) {
  const statuses = [];
  const { data } = await fal.subscribe(APP, {
    input,
    mode,
    pollInterval: 20,
    logs: true,
    onQueueUpdate: ({ status }) => statuses.push(status),
  });
  return { ...outline(data), statuses };
}

async function submit() {
  const { request_id: requestId, status } = await fal.queue.submit(APP, { input: long });
  await fal.queue.cancel(APP, { requestId });
  const { status: last } = await fal.queue.subscribeToStatus(APP, { requestId, mode: 'streaming' });
  return { status, last, result: await failing(() => fal.queue.result(APP, { requestId })) };
}

function realtime() {
  return new Promise((resolve) => {
    const errors = [];
    const connection = fal.realtime.connect(APP, {
      tokenProvider: async () => 'none',
      onError: ({ message }) => {
        errors.push(message);
        connection.send(input);
      },
      onResult: ({ step, seed, images }) => {
        if (step < 6) return;
        connection.close();
        resolve({ errors, seed, isBytes: images[0].content instanceof Uint8Array, width: images[0].width });
      },
    });
    connection.send(wrong);
  });
}

const wrongStream = async () => (await fal.stream(APP, { input: wrong })).done();

async function cancelledStream() {
  const stream = await fal.stream(APP, { input: long });
  stream.on('data', () => fetch(`${url}/v1/generations/${stream.requestId}`, { method: 'DELETE' }));
  await stream.done();
}

const seen = {
  stream: await stream(),
  run: await run(),
  polling: await subscribe('polling'),
  streaming: await subscribe('streaming'),
  submit: await submit(),
  realtime: await realtime(),
  wrong: await failing(() => fal.run(APP, { input: wrong })),
  wrongStream: await failing(wrongStream),
  cancelledStream: await failing(cancelledStream),
};
console.log(JSON.stringify(seen));
