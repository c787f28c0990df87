// Gets a token from the token service with openid-client: discovery by RFC 8414, then RFC 8693 over
// mutual TLS. The settings are the argument, as JSON; the answer is the last line of standard output.
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const found = createRequire(`${settings.packages}/`).resolve('openid-client');
const client = await import(pathToFileURL(found).href);

const agent = new https.Agent({
  ca: readFileSync(settings.ca),
  cert: readFileSync(settings.certificate),
  key: readFileSync(settings.key),
});

// The issuer's host has no address here: its requests go to the service's port on this machine.
function customFetch(url, options) {
  const asked = new URL(url);
  const place = `https://localhost:${settings.port}${asked.pathname}${asked.search}`;
  const headers = Object.fromEntries(new Headers(options.headers).entries());
  const body = options.body === undefined ? undefined : String(options.body);
  return new Promise((resolve, reject) => {
    const sent = https.request(place, { agent, method: options.method, headers }, (answer) => {
      const parts = [];
      answer.on('data', (part) => parts.push(part));
      answer.on('end', () => resolve(new Response(Buffer.concat(parts), {
        status: answer.statusCode,
        headers: Object.entries(answer.headers).map(([name, value]) => [name, String(value)]),
      })));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

const config = await client.discovery(
  new URL(settings.issuer),
  settings.client,
  { use_mtls_endpoint_aliases: true },
  client.TlsClientAuth(),
  { algorithm: 'oauth2', [client.customFetch]: customFetch },
);
try {
  const answer = await client.genericGrantRequest(
    config,
    'urn:ietf:params:oauth:grant-type:token-exchange',
    settings.parameters,
  );
  console.log(JSON.stringify(answer));
} catch (error) {
  console.log(JSON.stringify({ refused: error.error, status: error.status }));
}
agent.destroy();
