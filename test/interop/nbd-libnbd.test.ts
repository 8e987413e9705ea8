/** libnbd asks for what clients seldom ask for: each request gets the right answer, and the connection survives. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { requireTool } from '../house/tools.js';
import { noise, sha256 } from '../input/temporary.js';
import { KiB, MiB, python, ServedStage } from './nbd-stage.js';

const nbdsh = requireTool('nbdsh');

let stage: ServedStage;
beforeAll(async () => {
  stage = await ServedStage.make({ os: 64 * MiB, data: MiB, odd: 8 * MiB });
  await (await stage.store.disk('data')).write(0, noise(1, MiB));
  await stage.captured('kept');
});
afterAll(() => stage.end());

/** Gives the name of the error of each failing request, and reads afterwards, so that it is known that the connection lives. */
const tries = `
import errno, hashlib
def name(call):
    try:
        call()
        return 'no error'
    except nbd.Error as error:
        return errno.errorcode.get(error.errnum, str(error.errnum))
def tried(*calls):
    answers = [name(call) for call in calls]
    assert len(h.pread(512, 0)) == 512
    print(' '.join(answers))
`;

describe.skipIf(nbdsh.isMissing)('libnbd', () => {
  const lines = async (name: string, script: string, before = ''): Promise<string[]> => {
    const connect = `h.set_strict_mode(0)\n${before}\nh.connect_uri('${stage.uri(name)}')\n`;
    return (await python(nbdsh, `${tries}${connect}${script}`)).trim().split('\n');
  };

  it.each([true, false])('is told what is wrong with a request; structured replies: %s', async (structured) => {
    const before = `h.set_request_structured_replies(${structured ? 'True' : 'False'})`;
    const wrong = `
assert h.get_structured_replies_negotiated() == ${structured ? 'True' : 'False'}
end = h.get_size()
tried(
    lambda: h.pread(512, end),
    lambda: h.pread(1024, end - 512),
    lambda: h.pwrite(bytes(512), end),
    lambda: h.zero(1024, end - 512),
    lambda: h.trim(1024, end - 512),
    lambda: h.pread(33 * 1024 * 1024, 0))
`;
    expect(await lines('os', wrong, before)).toEqual(['EINVAL EINVAL ENOSPC ENOSPC EINVAL EINVAL']);

    const refused = `
assert h.is_read_only()
tried(
    lambda: h.pwrite(bytes(512), 0),
    lambda: h.pwrite(bytes(512), 0, nbd.CMD_FLAG_FUA),
    lambda: h.zero(512, 0),
    lambda: h.trim(512, 0),
    lambda: h.flush(),
    lambda: h.cache(512, 0))
print(hashlib.sha256(h.pread(1024 * 1024, 0)).hexdigest())
`;
    expect(await lines('vm/kept/data', refused, before)).toEqual([
      'EPERM EPERM EPERM EPERM no error no error',
      sha256(noise(1, MiB)),
    ]);
  });

  it('refuses an export that is not there, and goes on with one that is', async () => {
    const script = `
h.set_opt_mode(True)
h.connect_unix('${stage.socket}')
answers = []
for name in ['nothing', 'vm/none/os', 'x' * 3000]:
    h.set_export_name(name)
    try:
        h.opt_info()
        answers.append('found')
    except nbd.Error as error:
        answers.append(errno.errorcode[error.errnum])
h.set_export_name('data')
h.opt_info()
h.opt_go()
print(' '.join(answers), h.get_size())
`;
    expect((await python(nbdsh, `${tries}${script}`)).trim()).toBe(`ENOENT ENOENT ENOENT ${MiB}`);
  });

  it('reads and writes at odd places, from one byte to 32 MiB', async () => {
    const script = `
import random
random.seed(1)
size = h.get_size()
model = bytearray(size)
for length in [1, 511, 512, 513, 4095, 65537, 1048575]:
    at = random.randrange(size - length) | 1
    data = random.randbytes(length)
    h.pwrite(data, at, nbd.CMD_FLAG_FUA if length % 2 else 0)
    model[at:at + length] = data
for length in [1, 700, 70000]:
    at = random.randrange(size - length) | 1
    h.zero(length, at)
    model[at:at + length] = bytes(length)
before = h.pread(4096, 0)
h.trim(3000, 1001)
after = h.pread(4096, 0)
assert after[:1001] == before[:1001] and after[4001:] == before[4001:]
model[0:4096] = after
whole = h.pread(size, 0)
assert whole == bytes(model)
for length in [1, 3, 513, 4097]:
    at = random.randrange(size - length)
    assert h.pread(length, at) == bytes(model[at:at + length])
print(hashlib.sha256(whole).hexdigest())
`;
    const [hash] = await lines('odd', script);
    expect(hash).toBe(sha256(await (await stage.store.disk('odd')).read(0, 8 * MiB)));

    const large = `
data = bytes(range(256)) * (32 * 4096)
h.pwrite(data, 16 * 1024 * 1024)
assert h.pread(32 * 1024 * 1024, 16 * 1024 * 1024) == data
assert h.pread_structured(32 * 1024 * 1024, 16 * 1024 * 1024, lambda *a: None, nbd.CMD_FLAG_DF) == data
print('same')
`;
    expect(await lines('os', large)).toEqual(['same']);
  });

  it('asks for several contexts at once, and for one extent at a time', async () => {
    await stage.captured('later');
    const before = `
for context in ['base:allocation', 'qemu:allocation-depth', 'qemu:dirty-bitmap:kept']:
    h.add_meta_context(context)
`;
    const script = `
found = {}
def note(context, offset, entries, error):
    found[context] = entries
h.block_status(h.get_size(), 0, note)
assert all(h.can_meta_context(context) for context in found)
for context in sorted(found):
    print(context, *found[context])
h.block_status(h.get_size() - 65536, 65536, note, nbd.CMD_FLAG_REQ_ONE)
print(*[len(found[context]) for context in sorted(found)])
`;
    expect(await lines('vm/later/data', script, before)).toEqual([
      `base:allocation ${MiB} 0`,
      `qemu:allocation-depth ${MiB} 1`,
      `qemu:dirty-bitmap:kept ${MiB} 0`,
      '2 2 2',
    ]);
  });

  it('has many requests in flight, and each gets its own answer', async () => {
    const script = `
cookies = []
buffers = []
for index in range(512):
    cookies.append(h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray([index % 251]) * 4096), index * 4096))
while h.aio_in_flight() > 0:
    h.poll(-1)
assert all(h.aio_command_completed(cookie) for cookie in cookies)
cookies = []
for index in range(512):
    buffer = nbd.Buffer(4096)
    buffers.append(buffer)
    cookies.append(h.aio_pread(buffer, index * 4096))
while h.aio_in_flight() > 0:
    h.poll(-1)
for index, cookie in enumerate(cookies):
    assert h.aio_command_completed(cookie)
    assert buffers[index].to_bytearray() == bytearray([index % 251]) * 4096
print('same')
`;
    expect(await lines('os', script)).toEqual(['same']);
    expect((await (await stage.store.disk('os')).read(511 * 4 * KiB, 512))[0]).toBe(511 % 251);
  });
});
