// An authorization server of opaque tokens: oidc-provider, on loopback. The settings are the argument,
// as JSON; the first line on standard output is the server's URL. It is for tests/support/opaque_issuer.py.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const settings = JSON.parse(process.argv[2]);
const found = createRequire(`${settings.packages}/`).resolve('oidc-provider');
const { default: Provider } = await import(pathToFileURL(found).href);

const { tls } = settings;
const server = tls
  ? https.createServer({
    cert: readFileSync(tls.certificate),
    key: readFileSync(tls.key),
    ca: readFileSync(tls.ca),
    requestCert: true,
    rejectUnauthorized: false, // the clients that need no certificate have none
  })
  : http.createServer();
await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
const issuer = `${tls ? 'https://localhost' : 'http://127.0.0.1'}:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: settings.clients,
  cookies: { keys: ['for tests only'] },
  scopes: ['openid', 'offline_access', ...settings.scopes],
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  // The agent that a client is, in the tokens of its users.
  extraTokenClaims: (_, token) => (
    settings.actors[token.clientId] && token.accountId
      ? { act: { sub: settings.actors[token.clientId] } }
      : undefined
  ),
  ttl: { AccessToken: settings.seconds, ClientCredentials: settings.seconds },
  clientAuthMethods: [
    'none', 'client_secret_basic', 'private_key_jwt', ...(tls ? ['tls_client_auth'] : []),
  ],
  features: {
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    jwtIntrospection: { enabled: true },
    revocation: { enabled: true },
    dPoP: { enabled: true },
    mTLS: {
      enabled: Boolean(tls),
      tlsClientAuth: true,
      certificateBoundAccessTokens: true,
      getCertificate: (ctx) => {
        const raw = ctx.req.socket.getPeerCertificate?.()?.raw;
        return raw && `-----BEGIN CERTIFICATE-----\n${raw.toString('base64')}\n-----END CERTIFICATE-----`;
      },
      certificateAuthorized: (ctx) => ctx.req.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) => (
        property === 'tls_client_auth_san_uri'
        && ctx.req.socket.getPeerCertificate().subjectaltname === `URI:${expected}`
      ),
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => settings.resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: settings.scopes.join(' '),
        audience: settings.resource,
        accessTokenFormat: 'opaque',
      }),
    },
  },
});
server.on('request', provider.callback());
console.log(issuer);
