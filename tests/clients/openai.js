// OpenAI's JavaScript SDK, unmodified. Prints what it saw as JSON: `node openai.js URL PACKAGE`.
const [url, name] = process.argv.slice(2);
const { default: OpenAI } = await import(name);

const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });
const ask = { prompt: 'a yellow boat at sunset', size: '64x64', num_inference_steps: 8, seed: 3 };
const long = { prompt: 'a boat', num_inference_steps: 50 };

async function failing(work) {
  try {
    await work();
  } catch (error) {
    const { status, message, param, code } = error;
    return { kind: error.constructor.name, status, message, param, code };
  }
  return null;
}

async function plain() {
  const { size, output_format, quality, data } = await openai.images.generate({ ...ask, n: 2, quality: 'hd' });
  const pictures = data.map(({ b64_json }) => b64_json);
  return { size, output_format, quality, pictures };
}

async function stream(partial_images) {
  const events = [];
  for await (const event of await openai.images.generate({ ...ask, stream: true, partial_images })) events.push(event);
  return events;
}

async function cancelledStream() {
  const asked = openai.images.generate({ ...long, stream: true, partial_images: 3 });
  const { data: events, request_id } = await asked.withResponse();
  for await (const _ of events) await fetch(`${url}/v1/generations/${request_id}`, { method: 'DELETE' });
}

async function models() {
  const { data } = await openai.models.list();
  const model = await openai.models.retrieve(data[0].id);
  return { count: data.length, isSame: model.id === data[0].id };
}

const seen = {
  plain: await plain(),
  streams: [await stream(0), await stream(1), await stream(2), await stream(3)],
  models: await models(),
  wrong: await failing(() => openai.images.generate({ ...ask, n: 5 })),
  unknown: await failing(() => openai.models.retrieve('no/such/model')),
  cancelledStream: await failing(cancelledStream),
};
console.log(JSON.stringify(seen));
