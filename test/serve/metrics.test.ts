/** `/metrics` is what Prometheus reads, with the figures of the store; `/healthz` says how the server is. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { Place } from './server.js';

let place: Place;

beforeEach(async () => {
  place = new Place();
  await place.make();
});

afterEach(async () => {
  await place.remove();
});

/** The samples of the text format; throws on a line that is none, and on a sample without a type before it. */
function samplesOf(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  const types = new Set<string>();
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('# HELP ')) continue;
    const type = /^# TYPE (\S+) (?:counter|gauge|histogram|summary)$/u.exec(line)?.[1];
    if (type !== undefined) {
      types.add(type);
      continue;
    }
    const sample = /^([a-z_:][\w:]*)(\{(?:[a-z_]\w*="(?:[^"\\]|\\.)*",?)*\})? (\S+)$/u.exec(line);
    if (sample === null) throw new Error(`no sample: ${line}`);
    const [, name = '', labels = '', value] = sample;
    const family = name.replace(/_(bucket|sum|count)$/u, '');
    if (!types.has(name) && !types.has(family)) throw new Error(`no type: ${line}`);
    samples.set(name + labels, Number(value));
  }
  return samples;
}

describe('serve --http', () => {
  it('has the figures of the store, the socket and the process', async () => {
    const server = await place.serve('--http 127.0.0.1:0');
    const url = server.ready.http ?? '';
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/u);
    await place.done('capture web1 --name one --wait');
    await place.type('show web1/none').ended;

    const answer = await fetch(`${url}/metrics`);
    expect(answer.headers.get('content-type')).toContain('text/plain; version=0.0.4');
    const samples = samplesOf(await answer.text());
    const figures = Object.fromEntries([...samples].filter(([name]) => name.startsWith('stillpoint_')));
    expect(figures).toMatchObject({
      stillpoint_machines: 1,
      stillpoint_points: 1,
      stillpoint_disks: 1,
      stillpoint_copies_running: 0,
      stillpoint_opening_findings: 0,
      stillpoint_control_clients: 0,
      stillpoint_control_clients_refused_total: 0,
      stillpoint_control_calls_running: 0,
      'stillpoint_control_calls_total{command="capture",code="ok"}': 1,
      'stillpoint_control_calls_total{command="show",code="POINT_NOT_FOUND"}': 1,
      'stillpoint_control_call_seconds_count{command="capture"}': 1,
      'stillpoint_events_total{kind="copied"}': 1,
      stillpoint_nbd_clients: 0,
    });
    const status = await place.done('status');
    expect(samples.get('stillpoint_stored_bytes{kind="packs"}')).toBe(status['packBytes']);
    expect(samples.get('stillpoint_write_log_bytes')).toBe((status['live'] as { logBytes: number }).logBytes);
    expect(samples.get('process_resident_memory_bytes')).toBeGreaterThan(1e6);
    expect([...samples.keys()].some((name) => name.startsWith('stillpoint_info{version="'))).toBe(true);

    const scrapes = await Promise.all(Array.from({ length: 20 }, async () => (await fetch(`${url}/metrics`)).text()));
    for (const scrape of scrapes) samplesOf(scrape);
  });

  it('says that it is healthy, knows nothing else, and ends with its server', async () => {
    const server = await place.serve('--http 0');
    const url = server.ready.http ?? '';
    const health = await fetch(`${url}/healthz`);
    expect([health.status, await health.json()]).toEqual([200, { status: 'ok' }]);
    expect((await fetch(`${url}/`)).status).toBe(404);
    expect((await fetch(`${url}/metrics`, { method: 'POST', body: 'x'.repeat(100_000) })).status).toBe(413);
    server.child.kill('SIGTERM');
    expect(await server.ended).toMatchObject({ code: 0 });
    await expect(fetch(`${url}/healthz`)).rejects.toThrow();
  });

  it('refuses an address that is taken, and gives the store back', async () => {
    const server = await place.serve('--http 127.0.0.1:0');
    const { port } = new URL(server.ready.http ?? '');
    const other = new Place();
    await other.done('init');
    const ended = await other.type(`serve --json --http 127.0.0.1:${port}`).ended;
    expect(ended).toMatchObject({ code: 2, out: '' });
    expect(ended.err).toContain('EADDRINUSE');
    expect(await other.done('list')).toMatchObject({ readOnly: false });
    await other.remove();
  });
});
