/** What comes over the socket is checked before a command sees it. */

import { describe, expect, it } from 'vitest';

import { checkedRequest, isCommand, receivedMessage } from '../../src/control/requests.js';

describe('a message', () => {
  it.each([
    ['', 'not JSON'],
    ['{"hello":', 'not JSON'],
    ['null', 'none of'],
    ['[]', 'none of'],
    ['{}', 'none of'],
    ['{"hello":{"versions":"1"}}', 'none of'],
    ['{"call":{"command":"list"}}', 'none of'],
    ['{"cancel":{"reason":"a"},"hello":{"versions":[1]}}', 'none of'],
  ])('%s is refused', (line, why) => {
    expect(() => receivedMessage(line)).toThrow(why);
  });

  it('of a kind that is known is taken', () => {
    expect(receivedMessage('{"hello":{"versions":[1,2],"more":1}}')).toEqual({ hello: { versions: [1, 2] } });
    const call = { command: 'list', request: { machine: null }, rows: false };
    expect(receivedMessage(JSON.stringify({ call }))).toEqual({ call });
  });
});

describe('a request', () => {
  it('has exactly the members that its command knows', () => {
    expect(checkedRequest('list', { machine: null })).toEqual({ machine: null });
    for (const wrong of [null, [], {}, { machine: 1 }, { machine: null, more: 1 }]) {
      expect(() => checkedRequest('list', wrong)).toThrow(/^list: /u);
    }
  });

  it('names files by absolute paths', () => {
    const request = { point: 'a/b', at: null, overwrite: false, sync: true, disk: null, format: null };
    expect(checkedRequest('restore.disk', { ...request, to: '/x' })).toMatchObject({ to: '/x' });
    for (const to of ['x', './x', '', '/a\0b']) {
      expect(() => checkedRequest('restore.disk', { ...request, to })).toThrow('restore.disk: to: it must be absolute');
    }
  });

  it('says where it is wrong', () => {
    const disks = [{ role: 'os', path: 'relative' }];
    const rest = {
      name: 'a',
      isManaged: false,
      format: null,
      sectorBytes: null,
      resourceGroup: null,
      subscription: null,
    };
    expect(() => checkedRequest('vm.create', { ...rest, disks })).toThrow('vm.create: disks.0.path: ');
  });

  it('keeps a configuration as it is', () => {
    const configuration = { cpus: 2, tags: ['a'], nested: { deep: null } };
    const rest = {
      name: 'a',
      disks: [],
      isManaged: false,
      format: null,
      sectorBytes: null,
      resourceGroup: null,
      subscription: null,
    };
    expect(checkedRequest('vm.create', { ...rest, configuration })).toEqual({ ...rest, configuration });
    expect(checkedRequest('vm.create', rest)).toEqual(rest);
  });
});

it('names of objects are no commands', () => {
  expect(['list', 'toString', 'constructor', '__proto__'].map(isCommand)).toEqual([true, false, false, false]);
});
