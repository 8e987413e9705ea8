/*
 * The first and only program of the test's guest: transactions over two disks, told on the serial console.
 *
 * The boot disk has ext4, the other xfs. Each has a folder for every worker:
 *
 *   table   16 blocks of 4096 bytes, overwritten in place; transaction n is in block n % 16
 *   head    40,000 bytes of the last transaction that is a multiple of 8; replaced by a rename
 *   log     512 bytes of every transaction, appended: what commits it
 *
 * A worker writes transaction n to the boot disk, in this order, each step with an fsync; then the same to the other disk; only then
 * it prints `committed WORKER n`, and only then n + 1 begins. All bytes follow from worker and number (stampOf of transactions.ts),
 * so that whoever reads them can prove each one. Another process makes, cuts and removes files on both disks without any fsync, so
 * that the journals always have something to recover, and what is removed is trimmed.
 *
 * On the console it says `found WORKER BOOT OTHER` for each worker, the numbers of the last transactions on the two disks, and then
 * `ready`. The workers begin when it is told a line. What fails is said with the word `failed`, and ends the guest.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

enum { workers = 3, slots = 16, record_bytes = 512, slot_bytes = 4096, head_every = 8, head_bytes = 40000 };
enum { churn_files = 24, churn_bytes_max = 200000, churn_pause_us = 15000 };

static const char *const disks[] = {"/boot-disk", "/other-disk"};
static int console;

/* One write for each line, so that lines of several processes do not mix. */
static void say(const char *format, ...) {
  char line[256];
  va_list values;
  va_start(values, format);
  int length = vsnprintf(line, sizeof line - 1, format, values);
  va_end(values);
  line[length] = '\n';
  if (write(console, line, length + 1) != length + 1) _exit(1);
}

static void fail(const char *what, const char *where) {
  say("failed %s %s: %s", what, where, strerror(errno));
  reboot(RB_POWER_OFF);
  _exit(1);
}

static void fill(void *bytes, size_t length, uint32_t worker, uint32_t number) {
  uint32_t *words = bytes;
  words[0] = number;
  words[1] = worker;
  for (size_t index = 2; index < length / 4; index += 1) {
    uint32_t mixed = number * 2654435761u + worker * 40503u + (uint32_t)index * 2246822519u;
    words[index] = mixed ^ mixed >> 15;
  }
}

static int opened(const char *path, int flags) {
  int file = open(path, flags | O_CLOEXEC, 0644);
  if (file < 0) fail("open", path);
  return file;
}

static void synced(int file, const char *path) {
  if (fsync(file) != 0) fail("fsync", path);
}

static void write_head(const char *folder, uint32_t worker, uint32_t number) {
  static char bytes[head_bytes];
  char path[64], temporary[64];
  snprintf(path, sizeof path, "%s/head", folder);
  snprintf(temporary, sizeof temporary, "%s/head.new", folder);
  fill(bytes, sizeof bytes, worker, number);
  int file = opened(temporary, O_WRONLY | O_CREAT | O_TRUNC);
  if (write(file, bytes, sizeof bytes) != sizeof bytes) fail("write", temporary);
  synced(file, temporary);
  close(file);
  if (rename(temporary, path) != 0) fail("rename", temporary);
  int directory = opened(folder, O_RDONLY | O_DIRECTORY);
  synced(directory, folder);
  close(directory);
}

static void transact(const char *disk, uint32_t worker, uint32_t number) {
  char folder[32], path[64], block[slot_bytes], record[record_bytes];
  snprintf(folder, sizeof folder, "%s/worker-%u", disk, worker);

  snprintf(path, sizeof path, "%s/table", folder);
  int table = opened(path, O_WRONLY | O_CREAT);
  fill(block, sizeof block, worker, number);
  if (pwrite(table, block, sizeof block, number % slots * slot_bytes) != sizeof block) fail("write", path);
  synced(table, path);
  close(table);

  if (number % head_every == 0) write_head(folder, worker, number);

  snprintf(path, sizeof path, "%s/log", folder);
  int log = opened(path, O_WRONLY | O_CREAT | O_APPEND);
  fill(record, sizeof record, worker, number);
  if (write(log, record, sizeof record) != sizeof record) fail("write", path);
  synced(log, path);
  close(log);
}

/* The number of the last transaction of a worker on a disk, all of whose records have to be right. */
static uint32_t last(const char *disk, uint32_t worker) {
  char folder[32], path[64], record[record_bytes], expected[record_bytes];
  snprintf(folder, sizeof folder, "%s/worker-%u", disk, worker);
  if (mkdir(folder, 0755) != 0 && errno != EEXIST) fail("mkdir", folder);
  snprintf(path, sizeof path, "%s/log", folder);
  int log = open(path, O_RDONLY | O_CLOEXEC);
  if (log < 0 && errno == ENOENT) return 0;
  if (log < 0) fail("open", path);
  uint32_t count = 0;
  ssize_t length;
  while ((length = read(log, record, sizeof record)) > 0) {
    count += 1;
    fill(expected, sizeof expected, worker, count);
    if (length != sizeof record || memcmp(record, expected, sizeof record) != 0) fail("compare", path);
  }
  if (length < 0) fail("read", path);
  close(log);
  return count;
}

/* Goes on after the last transaction that both disks have; the boot disk may be one ahead. */
static void work(uint32_t worker, const uint32_t found[2]) {
  for (uint32_t number = found[1] + 1;; number += 1) {
    for (size_t disk = 0; disk < 2; disk += 1) {
      if (number > found[disk]) transact(disks[disk], worker, number);
    }
    say("committed %u %u", worker, number);
  }
}

static void churn(void) {
  static char bytes[churn_bytes_max];
  uint32_t state = 1;
  char path[64];
  for (;;) {
    state = state * 1664525u + 1013904223u;
    snprintf(path, sizeof path, "%s/churn-%u", disks[state >> 31], (state >> 8) % churn_files);
    uint32_t length = (state >> 4) % churn_bytes_max;
    switch (state >> 28 & 3) {
      case 0:
        unlink(path);
        break;
      case 1:
        if (truncate(path, length) != 0 && errno != ENOENT) fail("truncate", path);
        break;
      default: {
        int file = opened(path, O_WRONLY | O_CREAT);
        memset(bytes, (int)(state >> 20), length);
        if (write(file, bytes, length) != (ssize_t)length) fail("write", path);
        close(file);
      }
    }
    usleep(churn_pause_us);
  }
}

static void set(const char *path, const char *value) {
  int file = opened(path, O_WRONLY);
  if (write(file, value, strlen(value)) < 0) fail("write", path);
  close(file);
}

static void load_modules(void) {
  for (unsigned index = 0;; index += 1) {
    char path[32];
    snprintf(path, sizeof path, "/modules/%02u.ko", index);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    if (syscall(SYS_finit_module, file, "", 0) != 0) fail("load", path);
    close(file);
  }
}

static void prepare(void) {
  mkdir("/dev", 0755);
  mkdir("/proc", 0755);
  if (mount("devtmpfs", "/dev", "devtmpfs", 0, "") != 0) _exit(1);
  console = open("/dev/ttyS0", O_RDWR | O_CLOEXEC);
  if (console < 0) _exit(1);
  struct termios settings;
  if (tcgetattr(console, &settings) == 0) {
    settings.c_lflag &= ~(tcflag_t)ECHO;
    settings.c_oflag &= ~(tcflag_t)OPOST;
    tcsetattr(console, TCSANOW, &settings);
  }
  if (mount("proc", "/proc", "proc", 0, "") != 0) fail("mount", "/proc");
  /* What nobody syncs is written back within a moment, not within half a minute. */
  set("/proc/sys/vm/dirty_writeback_centisecs", "20");
  set("/proc/sys/vm/dirty_expire_centisecs", "30");
  load_modules();
  for (size_t disk = 0; disk < 2; disk += 1) mkdir(disks[disk], 0755);
  if (mount("/dev/vda", disks[0], "ext4", MS_NOATIME, "discard") != 0) fail("mount", disks[0]);
  if (mount("/dev/vdb", disks[1], "xfs", MS_NOATIME, "discard") != 0) fail("mount", disks[1]);
}

int main(void) {
  prepare();
  uint32_t found[workers][2];
  for (uint32_t worker = 0; worker < workers; worker += 1) {
    for (size_t disk = 0; disk < 2; disk += 1) found[worker][disk] = last(disks[disk], worker);
    say("found %u %u %u", worker, found[worker][0], found[worker][1]);
  }
  say("ready");
  char told[16];
  if (read(console, told, sizeof told) <= 0) fail("read", "console");
  for (uint32_t worker = 0; worker < workers; worker += 1) {
    if (fork() == 0) work(worker, found[worker]);
  }
  churn();
}
