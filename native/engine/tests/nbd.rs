//! The rules of the NBD protocol, each by a client that keeps or breaks it.
#![allow(clippy::unwrap_used, reason = "a failure here is a failing test")]

mod nbd_world;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nbd_world::{Client, Ended, SECTOR, Served, connect, queries, shelf, wanting};
use stillpoint_engine::limits::{NBD_OPTION_BYTES_MAX, NBD_PAYLOAD_BYTES_MAX};
use stillpoint_engine::nbd::protocol::{self, Errno, can, chunk, command, flag, info, option, reply};
use stillpoint_engine::nbd::{Listener, PlainClients, Server, ServerParts, Tls};

const SIZE: usize = 4 << 20;

/// A client of `disk` with structured replies and both listed contexts.
fn structured() -> (Client, Served, Arc<nbd_world::MemoryDisk>) {
    let (shelf, disk) = shelf(SIZE);
    let (mut client, served) = connect(&shelf, Tls::Absent);
    client.go("disk", true, false, &["base:allocation", "qemu:dirty-bitmap:one"]);
    (client, served, disk)
}

#[test]
fn unknown_client_flags_end_the_connection() {
    let (shelf, _) = shelf(SIZE);
    let (mut client, served) = connect(&shelf, Tls::Absent);
    client.hello(1 << 5);
    assert!(client.is_over());
    assert!(served.ended().is_err());
}

#[test]
fn an_unknown_option_is_refused_and_its_data_skipped() {
    let (shelf, _) = shelf(SIZE);
    let (mut client, _served) = connect(&shelf, Tls::Absent);
    client.hello(3);
    for option in [0, 4, 12, 0xffff_ffff] {
        assert_eq!(client.ask(option, &[0xee; 777]).1, reply::ERR_UNSUP);
    }
    assert_eq!(client.ask(option::LIST, &[]).1, reply::ACK);
}

#[test]
fn options_without_data_refuse_some() {
    let (shelf, _) = shelf(SIZE);
    let (mut client, _served) = connect(&shelf, Tls::Offered);
    client.hello(3);
    for option in [option::LIST, option::STARTTLS, option::STRUCTURED_REPLY, option::EXTENDED_HEADERS] {
        assert_eq!(client.ask(option, b"x").1, reply::ERR_INVALID, "option {option}");
    }
}

#[test]
fn lengths_that_overrun_an_options_data_are_refused() {
    let (shelf, _) = shelf(SIZE);
    let (mut client, _served) = connect(&shelf, Tls::Absent);
    client.hello(3);
    assert_eq!(client.ask(option::STRUCTURED_REPLY, &[]).1, reply::ACK);
    let whole = wanting("disk", &[info::NAME]);
    for cut in 0..whole.len() {
        assert_eq!(client.ask(option::INFO, &whole[..cut]).1, reply::ERR_INVALID, "cut at {cut}");
    }
    let whole = queries("disk", &["base:allocation"]);
    for cut in 0..whole.len() {
        assert_eq!(client.ask(option::SET_META_CONTEXT, &whole[..cut]).1, reply::ERR_INVALID, "cut at {cut}");
    }
    let mut long = wanting("disk", &[]);
    long.push(0);
    assert_eq!(client.ask(option::GO, &long).1, reply::ERR_INVALID);
    long[..4].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(client.ask(option::GO, &long).1, reply::ERR_INVALID);
    assert_eq!(client.ask(option::INFO, &wanting("disk", &[])).1, reply::ACK);
}

#[test]
fn a_long_option_is_too_big_and_a_very_long_one_the_end() {
    let (shelf, _) = shelf(SIZE);
    let (mut client, _served) = connect(&shelf, Tls::Absent);
    client.hello(3);
    let long = vec![0; NBD_OPTION_BYTES_MAX as usize + 1];
    assert_eq!(client.ask(option::GO, &long).1, reply::ERR_TOO_BIG);
    assert_eq!(client.ask(option::LIST, &[]).1, reply::ACK);
    client.say(b"IHAVEOPT");
    client.say(&[0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff]);
    assert!(client.is_over());
}

#[test]
fn exports_are_listed_and_told_of() {
    let (shelf, _) = shelf(SIZE);
    let (mut client, _served) = connect(&shelf, Tls::Absent);
    client.hello(3);
    let (listed, _) = client.ask(option::LIST, &[]);
    let names: Vec<_> = listed.iter().map(|(_, data)| String::from_utf8_lossy(&data[4..]).into_owned()).collect();
    assert_eq!(names, [format!("disk{SIZE} bytes"), "point1048576 bytes".to_owned()]);
    assert_eq!(client.ask(option::INFO, &wanting("nothing", &[])).1, reply::ERR_UNKNOWN);
    assert_eq!(client.ask(option::GO, &wanting("nothing", &[])).1, reply::ERR_UNKNOWN);
    let (facts, kind) = client.ask(option::INFO, &wanting("point", &[info::NAME, info::DESCRIPTION, 999]));
    assert_eq!(kind, reply::ACK);
    let of = |wanted: u16| facts.iter().find(|(_, data)| data[..2] == wanted.to_be_bytes()).map(|(_, data)| &data[2..]);
    assert_eq!(of(info::NAME).unwrap(), b"point");
    assert_eq!(of(info::DESCRIPTION).unwrap(), b"1048576 bytes");
    assert_eq!(of(info::EXPORT).unwrap()[..8], (1u64 << 20).to_be_bytes());
    let sizes: Vec<u32> =
        of(info::BLOCK_SIZE).unwrap().chunks(4).map(|b| u32::from_be_bytes(b.try_into().unwrap())).collect();
    assert_eq!(sizes, [1, 4096, NBD_PAYLOAD_BYTES_MAX as u32]);
    assert_eq!(client.ask(option::ABORT, &[]).1, reply::ACK);
    assert!(client.is_over());
}

#[test]
fn flags_say_what_the_connection_can_do() {
    let (shelf, _) = shelf(SIZE);
    let always = can::HAS_FLAGS | can::SEND_FLUSH | can::SEND_FUA | can::CAN_MULTI_CONN | can::SEND_CACHE;
    let writes = can::SEND_TRIM | can::SEND_WRITE_ZEROES | can::SEND_FAST_ZERO;
    let (mut client, _one) = connect(&shelf, Tls::Absent);
    assert_eq!(client.go("disk", false, false, &[]), always | writes); // without DF
    let (mut client, _two) = connect(&shelf, Tls::Absent);
    assert_eq!(client.go("disk", true, false, &[]), always | writes | can::SEND_DF);
    let (mut client, _three) = connect(&shelf, Tls::Absent);
    assert_eq!(client.go("point", true, false, &[]), always | can::READ_ONLY | can::SEND_DF);
}

#[test]
fn the_old_way_ends_with_zeros_unless_both_said_no() {
    let (shelf, _) = shelf(SIZE);
    for (flags, zeros) in [(1, 124), (3, 0)] {
        let (mut client, served) = connect(&shelf, Tls::Absent);
        client.hello(flags);
        client.option(option::EXPORT_NAME, b"disk");
        assert_eq!(u64::from_be_bytes(client.hear()), SIZE as u64);
        client.hear::<2>();
        assert_eq!(client.hear_bytes(zeros), vec![0; zeros]);
        assert_eq!(client.call(command::READ, 0, 0, 512, &[]).data, [0; 512]);
        client.request(command::DISC, 0, 0, 0, &[]);
        assert!(client.is_over());
        assert_eq!(served.ended().unwrap(), Ended::Done);
    }
    let (mut client, _served) = connect(&shelf, Tls::Absent);
    client.hello(3);
    client.option(option::EXPORT_NAME, b"nothing");
    assert!(client.is_over());
}

#[test]
fn contexts_are_listed_by_wildcard_and_set_by_name() {
    let (shelf, _) = shelf(SIZE);
    let (mut client, _served) = connect(&shelf, Tls::Absent);
    client.hello(3);
    let names = |replies: &[(u32, Vec<u8>)]| -> Vec<String> {
        replies.iter().map(|(_, data)| String::from_utf8(data[4..].to_vec()).unwrap()).collect()
    };
    assert_eq!(client.ask(option::SET_META_CONTEXT, &queries("disk", &["base:allocation"])).1, reply::ERR_INVALID);
    client.ask(option::STRUCTURED_REPLY, &[]);
    let all = ["base:allocation", "qemu:dirty-bitmap:one"];
    assert_eq!(names(&client.ask(option::LIST_META_CONTEXT, &queries("disk", &[])).0), all);
    assert_eq!(names(&client.ask(option::LIST_META_CONTEXT, &queries("disk", &["base:"])).0), all[..1]);
    assert_eq!(names(&client.ask(option::LIST_META_CONTEXT, &queries("disk", &["qemu:"])).0), all[1..]);
    assert_eq!(client.ask(option::LIST_META_CONTEXT, &queries("nothing", &[])).1, reply::ERR_UNKNOWN);
    let (set, _) = client.ask(option::SET_META_CONTEXT, &queries("disk", &["base:", "x-no:thing", "base:allocation"]));
    assert_eq!(names(&set), all[..1]);
    let (set, _) = client.ask(option::SET_META_CONTEXT, &queries("disk", &["qemu:dirty-bitmap:hidden"]));
    assert_eq!(names(&set), ["qemu:dirty-bitmap:hidden"]);
}

#[test]
fn contexts_of_another_export_or_of_a_failed_choice_count_for_nothing() {
    let (shelf, _) = shelf(SIZE);
    for second in [queries("point", &["base:allocation"]), queries("nothing", &[]), vec![1]] {
        let (mut client, _served) = connect(&shelf, Tls::Absent);
        client.hello(3);
        client.ask(option::STRUCTURED_REPLY, &[]);
        client.ask(option::SET_META_CONTEXT, &queries("disk", &["base:allocation"]));
        client.ask(option::SET_META_CONTEXT, &second);
        assert_eq!(client.ask(option::GO, &wanting("disk", &[])).1, reply::ACK);
        client.is_structured = true;
        assert_eq!(client.call(command::BLOCK_STATUS, 0, 0, 512, &[]).errno, Errno::Invalid as u32);
    }
}

#[test]
fn nothing_but_tls_is_talked_about_where_it_is_required() {
    let (shelf, _) = shelf(SIZE);
    let (mut client, served) = connect(&shelf, Tls::Required);
    client.hello(3);
    for option in [option::LIST, option::INFO, option::GO, option::STRUCTURED_REPLY, 77] {
        assert_eq!(client.ask(option, &[]).1, reply::ERR_TLS_REQD);
    }
    assert_eq!(client.ask(option::STARTTLS, &[]).1, reply::ACK);
    assert_eq!(served.ended().unwrap(), Ended::StartTls);
    let (mut client, _served) = connect(&shelf, Tls::Required);
    client.hello(3);
    client.option(option::EXPORT_NAME, b"disk");
    assert!(client.is_over());
    let (mut client, _served) = connect(&shelf, Tls::Absent);
    client.hello(3);
    assert_eq!(client.ask(option::STARTTLS, &[]).1, reply::ERR_POLICY);
}

#[test]
fn a_client_that_knows_one_option_is_not_asked_for_tls() {
    let (shelf, _) = shelf(SIZE);
    let (mut client, _served) = connect(&shelf, Tls::Offered);
    client.hello(0);
    assert_eq!(client.ask(option::STARTTLS, &[]).1, reply::ERR_POLICY);
    client.option(option::EXPORT_NAME, b"disk");
    assert_eq!(u64::from_be_bytes(client.hear()), SIZE as u64);
    let (mut client, served) = connect(&shelf, Tls::Required);
    client.hello(0);
    assert!(client.is_over());
    assert_eq!(served.ended().unwrap(), Ended::Done);
}

#[test]
fn bytes_in_the_clear_after_starttls_are_not_believed() {
    let (shelf, _) = shelf(SIZE);
    let (mut client, served) = connect(&shelf, Tls::Offered);
    client.hello(3);
    let mut both = b"IHAVEOPT\0\0\0\x05\0\0\0\0".to_vec();
    both.extend(b"IHAVEOPT\0\0\0\x03\0\0\0\0");
    client.say(&both);
    assert!(client.is_over());
    assert!(served.ended().is_err());
}

#[test]
fn what_is_written_is_read_in_every_kind_of_reply() {
    for (structured, extended) in [(false, false), (true, false), (true, true)] {
        let (shelf, disk) = shelf(SIZE);
        let (mut client, served) = connect(&shelf, Tls::Absent);
        client.go("disk", structured, extended, &[]);
        let bytes: Vec<u8> = (0..8192u32).map(|at| (at % 251) as u8).collect();
        assert_eq!(client.call(command::WRITE, 0, 4096, 8192, &bytes).errno, 0);
        assert_eq!(client.call(command::READ, 0, 4096, 8192, &[]).data, bytes);
        assert_eq!(client.call(command::WRITE, flag::FUA, 0, 512, &[9; 512]).errno, 0);
        assert_eq!(client.call(command::WRITE_ZEROES, 0, 4096, 4096, &[]).errno, 0);
        assert_eq!(client.call(command::WRITE_ZEROES, flag::NO_HOLE, 0, 512, &[]).errno, 0);
        let both = flag::NO_HOLE | flag::FAST_ZERO;
        assert_eq!(client.call(command::WRITE_ZEROES, both, 8192, 512, &[]).errno, Errno::NotSupported as u32);
        assert_eq!(client.call(command::WRITE_ZEROES, flag::FAST_ZERO, 8192, 512, &[]).errno, 0);
        assert_eq!(client.call(command::TRIM, 0, 9000, 100, &[]).errno, 0); // less than a sector: nothing to do
        assert_eq!(client.call(command::CACHE, 0, 0, 4096, &[]).errno, 0);
        assert_eq!(client.call(command::FLUSH, 0, 0, 0, &[]).errno, 0);
        assert_eq!(disk.flushes.load(Ordering::Relaxed), 1);
        let mut expected = vec![0; 12_288];
        expected[8704..].copy_from_slice(&bytes[4608..]);
        assert_eq!(client.call(command::READ, 0, 0, 12_288, &[]).data, expected);
        client.request(command::DISC, 0, 0, 0, &[]);
        assert_eq!(served.ended().unwrap(), Ended::Done);
    }
}

#[test]
fn zeros_take_space_where_that_is_asked_for_and_are_never_both_fast_and_so() {
    let (mut client, _served, disk) = structured();
    assert_eq!(client.call(command::WRITE, 0, 0, 4096, &[7; 4096]).errno, 0);
    let both = flag::NO_HOLE | flag::FAST_ZERO;
    let refused = client.call(command::WRITE_ZEROES, both, 0, 4096, &[]);
    assert_eq!(refused.errno, Errno::NotSupported as u32);
    assert_eq!(client.call(command::READ, 0, 0, 4096, &[]).data, [7; 4096]); // as it was
    assert_eq!(client.call(command::WRITE_ZEROES, flag::NO_HOLE, 512, 2048, &[]).errno, 0);
    assert_eq!(disk.cleared.load(Ordering::Relaxed), 0); // written as data
    assert_eq!(client.call(command::WRITE_ZEROES, flag::FAST_ZERO, 0, 512, &[]).errno, 0);
    assert_eq!(client.call(command::WRITE_ZEROES, 0, 2560, 512, &[]).errno, 0);
    assert_eq!(disk.cleared.load(Ordering::Relaxed), 1024);
    let mut expected = vec![0; 4096];
    expected[3072..].fill(7);
    assert_eq!(client.call(command::READ, 0, 0, 4096, &[]).data, expected);
}

#[test]
fn a_read_is_answered_in_chunks_once_that_was_agreed_also_when_it_is_refused() {
    let (mut client, _served, disk) = structured();
    let wrong = [(0, SIZE as u64, 1), (0, 0, 0), (flag::REQ_ONE, 0, 512), (0, 0, u64::from(u32::MAX))];
    for (flags, offset, length) in wrong {
        client.request(command::READ, flags, offset, length, &[]);
        assert_eq!(u32::from_be_bytes(client.hear()), protocol::MAGIC_CHUNK);
        assert_eq!(u16::from_be_bytes(client.hear()), chunk::DONE);
        assert_eq!(u16::from_be_bytes(client.hear()), chunk::ERROR);
        client.hear::<8>();
        let length = u32::from_be_bytes(client.hear());
        assert_eq!(client.hear_bytes(length as usize)[..4], (Errno::Invalid as u32).to_be_bytes());
    }
    disk.fails.store(true, Ordering::Relaxed); // found out before the first byte of a chunk is sent
    client.request(command::READ, 0, 0, 512, &[]);
    assert_eq!(client.hear_bytes(8)[4..], [0, 1, 0x80, 1]);
}

#[test]
fn nothing_follows_the_answer_to_go() {
    let (shelf, _) = shelf(SIZE);
    let (mut client, _served) = connect(&shelf, Tls::Absent);
    client.hello(1); // zeros are for the old way alone
    assert_eq!(client.ask(option::GO, &wanting("disk", &[])).1, reply::ACK);
    assert_eq!(client.call(command::READ, 0, 0, 512, &[]).data, [0; 512]);
}

#[test]
fn a_flush_on_one_connection_comes_after_what_was_answered_on_another() {
    let (shelf, disk) = shelf(SIZE);
    let (mut writer, _one) = connect(&shelf, Tls::Absent);
    writer.go("disk", true, false, &[]);
    let (mut flusher, _other) = connect(&shelf, Tls::Absent);
    assert_ne!(flusher.go("disk", true, false, &[]) & can::CAN_MULTI_CONN, 0);
    for round in 1..=20 {
        assert_eq!(writer.call(command::WRITE, 0, 0, 512, &[round; 512]).errno, 0);
        assert_eq!(flusher.call(command::FLUSH, 0, 0, 0, &[]).errno, 0);
        assert_eq!(disk.flushes.load(Ordering::Relaxed), u64::from(round));
        assert_eq!(flusher.call(command::READ, 0, 0, 512, &[]).data, [round; 512]);
    }
}

#[test]
fn extended_headers_say_more_than_structured_replies() {
    let (shelf, _) = shelf(SIZE);
    let (mut client, _served) = connect(&shelf, Tls::Absent);
    client.hello(3);
    assert_eq!(client.ask(option::STRUCTURED_REPLY, &[]).1, reply::ACK);
    assert_eq!(client.ask(option::EXTENDED_HEADERS, &[]).1, reply::ACK);
    assert_eq!(client.ask(option::STRUCTURED_REPLY, &[]).1, reply::ERR_EXT_HEADER_REQD);
    client.choose("disk", false, false, &["base:allocation"]);
    (client.is_structured, client.is_extended) = (true, true);
    let whole = SIZE as u64;
    assert_eq!(client.call(command::WRITE_ZEROES, 0, 0, whole, &[]).errno, 0);
    assert_eq!(client.call(command::BLOCK_STATUS, 0, 0, whole, &[]).status, [(1, vec![(8192 * SECTOR, 3)])]);
    for command in [command::READ, command::TRIM, command::WRITE_ZEROES, command::BLOCK_STATUS, command::CACHE] {
        for (offset, length) in [(512, u64::MAX), (u64::MAX - 511, 512), (0, 1 << 40)] {
            let errno = client.call(command, 0, offset, length, &[]).errno;
            assert!(errno == Errno::Invalid as u32 || errno == Errno::NoSpace as u32, "command {command}: {errno}");
        }
    }
    // A payload that the command does not have is taken off the wire before the answer.
    assert_eq!(client.call(command::READ, flag::PAYLOAD_LEN, 0, 24, &[0x21; 24]).errno, Errno::Invalid as u32);
    assert_eq!(client.call(command::READ, 0, 0, 512, &[]).data, [0; 512]);
}

#[test]
fn requests_need_not_be_whole_sectors() {
    let (mut client, _served, disk) = structured();
    disk.bytes.lock().unwrap()[..2048].fill(7);
    assert_eq!(client.call(command::WRITE, 0, 500, 24, &[1; 24]).errno, 0);
    assert_eq!(client.call(command::WRITE_ZEROES, 0, 1000, 600, &[]).errno, 0);
    assert_eq!(client.call(command::TRIM, 0, 1700, 300, &[]).errno, 0); // within a sector
    let mut expected = vec![7; 2048];
    expected[500..524].fill(1);
    expected[1000..1600].fill(0);
    assert_eq!(client.call(command::READ, 0, 0, 2048, &[]).data, expected);
    assert_eq!(client.call(command::READ, 0, 511, 3, &[]).data, expected[511..514]);
}

#[test]
fn a_refused_request_leaves_the_connection_in_step() {
    let (shelf, _) = shelf(SIZE);
    for extended in [false, true] {
        let (mut client, _served) = connect(&shelf, Tls::Absent);
        client.go("disk", true, extended, &[]);
        let end = SIZE as u64;
        let refused = |client: &mut Client, command, flags, offset, length: u64, errno: Errno| {
            let payload = if command == command::WRITE { vec![0xaa; length as usize] } else { Vec::new() };
            let answer = client.call(command, flags, offset, length, &payload);
            assert_eq!(answer.errno, errno as u32, "command {command} at {offset}");
        };
        refused(&mut client, command::WRITE, 0, end - 512, 1024, Errno::NoSpace);
        refused(&mut client, command::WRITE_ZEROES, 0, end, 1, Errno::NoSpace);
        refused(&mut client, command::READ, 0, end, 1, Errno::Invalid);
        refused(&mut client, command::READ, 0, u64::MAX, 2, Errno::Invalid);
        refused(&mut client, command::TRIM, 0, end - 1, 2, Errno::Invalid);
        refused(&mut client, command::READ, 0, 0, 0, Errno::Invalid);
        refused(&mut client, command::READ, flag::REQ_ONE, 0, 1, Errno::Invalid);
        refused(&mut client, 77, 0, 0, 1, Errno::Invalid);
        refused(&mut client, command::BLOCK_STATUS, 0, 0, 512, Errno::Invalid);
        assert_eq!(client.call(command::READ, 0, 0, 512, &[]).data, [0; 512]);
    }
}

#[test]
fn payloads_above_the_largest_are_refused_whole_and_far_above_are_the_end() {
    let size = NBD_PAYLOAD_BYTES_MAX + (1 << 20);
    let (shelf, _) = shelf(size as usize);
    let (mut client, _served) = connect(&shelf, Tls::Absent);
    client.go("disk", true, false, &[]);
    let payload = vec![1; size as usize];
    assert_eq!(client.call(command::WRITE, 0, 0, size, &payload).errno, Errno::Invalid as u32);
    assert_eq!(client.call(command::READ, 0, 0, size, &[]).errno, Errno::Invalid as u32);
    let largest = NBD_PAYLOAD_BYTES_MAX;
    assert_eq!(client.call(command::WRITE, 0, 512, largest, &payload[..largest as usize]).errno, 0);
    assert_eq!(client.call(command::READ, 0, 512, largest, &[]).data, payload[..largest as usize]);
    client.request(command::WRITE, 0, 0, u64::from(u32::MAX), &[]);
    assert!(client.is_over());
}

#[test]
fn what_is_read_only_stays_as_it_is() {
    let (shelf, _) = shelf(SIZE);
    let (mut client, _served) = connect(&shelf, Tls::Absent);
    client.go("point", true, false, &[]);
    assert_eq!(client.call(command::WRITE, 0, 0, 512, &[1; 512]).errno, Errno::Permission as u32);
    assert_eq!(client.call(command::WRITE_ZEROES, 0, 0, 512, &[]).errno, Errno::Permission as u32);
    assert_eq!(client.call(command::TRIM, 0, 0, 512, &[]).errno, Errno::Permission as u32);
    assert_eq!(client.call(command::FLUSH, 0, 0, 0, &[]).errno, 0);
    assert_eq!(client.call(command::READ, 0, 0, 512, &[]).data, [0; 512]);
}

#[test]
fn errors_of_the_disk_are_told_in_chunks_that_no_client_chokes_on() {
    let (mut client, _served, disk) = structured();
    disk.fails.store(true, Ordering::Relaxed);
    let answer = client.call(command::READ, 0, 0, 512, &[]);
    assert_eq!(answer.errno, Errno::Io as u32);
    assert!(answer.text.starts_with("CHUNK_DAMAGED: x") && answer.data.is_empty());
    assert_eq!(client.call(command::WRITE, 0, 0, 512, &[0; 512]).errno, Errno::Io as u32);
    disk.fails.store(false, Ordering::Relaxed);
    assert_eq!(client.call(command::READ, 0, 0, 512, &[]).errno, 0);
}

#[test]
fn statuses_cover_what_was_asked_and_no_more() {
    for extended in [false, true] {
        let (shelf, _) = shelf(SIZE);
        let (mut client, _served) = connect(&shelf, Tls::Absent);
        client.go("disk", true, extended, &["base:allocation", "qemu:dirty-bitmap:one"]);
        client.call(command::WRITE, 0, 1024, 1024, &[1; 1024]);
        let answer = client.call(command::BLOCK_STATUS, 0, 0, 4096, &[]);
        let allocation = vec![(1024, 3), (1024, 0), (2048, 3)];
        let dirty = vec![(1024, 0), (1024, 1), (2048, 0)];
        assert_eq!(answer.status, [(1, allocation), (2, dirty)]);
        let answer = client.call(command::BLOCK_STATUS, flag::REQ_ONE, 1100, 4, &[]);
        assert_eq!(answer.status, [(1, vec![(4, 0)]), (2, vec![(4, 1)])]);
        let answer = client.call(command::BLOCK_STATUS, 0, 512, SIZE as u64 - 512, &[]);
        let sum: u64 = answer.status[0].1.iter().map(|extent| extent.0).sum();
        assert!(sum <= SIZE as u64 - 512 && answer.status[0].1[0] == (512, 3));
    }
}

#[test]
fn a_disconnect_comes_after_all_that_was_asked_before() {
    let (shelf, disk) = shelf(SIZE);
    disk.is_slow.store(true, Ordering::Relaxed);
    let (mut client, served) = connect(&shelf, Tls::Absent);
    client.go("disk", true, false, &[]);
    for index in 0..200 {
        client.request(command::READ, 0, index * SECTOR, 512, &[]);
    }
    client.request(command::DISC, 0, 0, 0, &[]);
    let mut cookies: Vec<u64> = (0..200).map(|_| client.answer(512).0).collect();
    cookies.sort_unstable();
    assert_eq!(cookies, (1..=200).collect::<Vec<_>>());
    assert!(client.is_over());
    assert_eq!(served.ended().unwrap(), Ended::Done);
}

#[test]
fn a_client_that_never_reads_is_stopped_by_its_own_replies_and_harms_nobody() {
    let (shelf, disk) = shelf(8 << 20);
    disk.is_slow.store(true, Ordering::Relaxed);
    let (mut greedy, served) = connect(&shelf, Tls::Absent);
    greedy.go("disk", true, false, &[]);
    greedy.socket.set_nonblocking(true).unwrap();
    let mut request = vec![0x25, 0x60, 0x95, 0x13, 0, 0, 0, 0];
    request.extend([0; 16]);
    request.extend((4u32 << 20).to_be_bytes());
    // Until nothing more goes into the socket: far more than fits into memory is asked for.
    let mut sent = 0;
    while sent < 100_000
        && std::io::Write::write(&mut greedy.socket, &request).is_ok_and(|count| count == request.len())
    {
        sent += 1;
    }
    let (mut modest, _other) = connect(&shelf, Tls::Absent);
    modest.go("disk", true, false, &[]);
    assert_eq!(modest.call(command::READ, 0, 0, 512, &[]).data, [0; 512]);
    drop(greedy);
    let _ = served.ended(); // returns, whatever was left to say
}

#[test]
fn clients_that_leave_at_any_byte_leave_nothing_behind() {
    let (shelf, _) = shelf(SIZE);
    let mut script = 3u32.to_be_bytes().to_vec();
    script.extend(b"IHAVEOPT\0\0\0\x08\0\0\0\0");
    script.extend(b"IHAVEOPT\0\0\0\x07\0\0\0\x0a\0\0\0\x04disk\0\0");
    let mut write = vec![0x25, 0x60, 0x95, 0x13, 0, 0, 0, 1];
    write.extend([0; 16]);
    write.extend(512u32.to_be_bytes());
    write.extend([5; 512]);
    script.extend(&write);
    script.extend(&write[..24]);
    for cut in 0..script.len() {
        let (mut client, served) = connect(&shelf, Tls::Absent);
        client.say(&script[..cut]);
        drop(client);
        let _ = served.ended(); // returns, and every thread of the client with it
    }
}

/// A server on a socket of its own.
fn listening(clients_max: usize) -> (Server, PathBuf) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("stillpoint-nbd-{}-{number}", std::process::id()));
    let parts = ServerParts {
        exports: shelf(SIZE).0,
        tls: None,
        plain_clients: PlainClients::Local,
        clients_max,
        handshake_timeout: Duration::from_secs(1),
        send_timeout: Duration::from_secs(20),
    };
    (Server::start(Listener::unix(&path).unwrap(), parts).unwrap(), path)
}

#[test]
fn a_server_takes_so_many_clients_and_forgets_those_that_left() {
    let (server, path) = listening(2);
    let connect = || Client::over(UnixStream::connect(&path).unwrap());
    let mut clients = [connect(), connect()];
    for client in &mut clients {
        client.go("disk", true, false, &[]);
    }
    assert!(connect().is_over());
    assert_eq!((server.client_count(), server.refused_count()), (2, 1));
    drop(clients);
    let mut again = (0..1000).map(|_| connect()).find_map(|mut client| client.is_greeted().then_some(client)).unwrap();
    again.say(&3u32.to_be_bytes());
    assert_eq!(again.ask(option::LIST, &[]).1, reply::ACK);
    server.stop();
    assert!(again.is_over());
    assert_eq!(server.client_count(), 0);
    assert!(!path.exists());
}

#[test]
fn a_client_that_says_nothing_is_left_and_one_that_has_chosen_may_be_silent() {
    let (server, path) = listening(8);
    let mut silent = Client::over(UnixStream::connect(&path).unwrap());
    let mut chosen = Client::over(UnixStream::connect(&path).unwrap());
    chosen.go("disk", true, false, &[]);
    assert!(silent.is_greeted() && silent.is_over()); // after the time for a handshake, which is shorter than the client's
    assert_eq!(chosen.call(command::READ, 0, 0, 512, &[]).data, [0; 512]);
    drop(server);
    assert!(!path.exists());
}

#[test]
fn every_rule_of_the_document_names_tests_that_there_are() {
    let sources = [
        include_str!("nbd.rs"),
        include_str!("nbd_leaks.rs"),
        include_str!("nbd_relay.rs"),
        include_str!("nbd_tls.rs"),
        include_str!("../src/nbd/listener.rs"),
        include_str!("../src/nbd/request.rs"),
        include_str!("../src/nbd/status.rs"),
    ];
    let document = include_str!("../../../docs/nbd-protocol.md");
    let (_, rules) = document.split_once("## Rules that servers get wrong").unwrap();
    let rows: Vec<&str> = rules.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert!(rows.len() >= 22);
    for row in rows {
        let tests = row.trim_end_matches('|').rsplit(" | ").next().unwrap();
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{row}");
        for name in names {
            assert!(sources.iter().any(|source| source.contains(&format!("fn {name}()"))), "no test {name}");
        }
    }
}

/// Waits until a thread has read ahead up to here.
fn wait_for_ahead(disk: &nbd_world::MemoryDisk, to: u64) {
    let is_short = |ahead: &mut Vec<std::ops::Range<u64>>| ahead.last().is_none_or(|range| range.end < to);
    let (ahead, timeout) =
        disk.went_ahead.wait_timeout_while(disk.ahead.lock().unwrap(), Duration::from_secs(20), is_short).unwrap();
    assert!(!timeout.timed_out(), "{ahead:?} was read ahead, not {to}");
}

#[test]
fn who_reads_in_order_one_at_a_time_is_read_ahead_of() {
    for is_slow in [false, true] {
        let (mut client, _served, disk) = structured();
        disk.is_slow.store(is_slow, Ordering::Relaxed);
        for number in 0..(SIZE as u64 >> 15) {
            assert_eq!(client.call(command::READ, 0, number << 15, 1 << 15, &[]).data.len(), 1 << 15);
            if number >= 2 {
                wait_for_ahead(&disk, (((number + 1) << 15) + (64 << 10)).min(SIZE as u64));
            }
        }
        let ahead = disk.ahead.lock().unwrap().clone();
        assert!(ahead.windows(2).all(|pair| pair[0].end <= pair[1].start), "nothing twice: {ahead:?}");
        assert_eq!(ahead.last().unwrap().end, SIZE as u64);
        // A range that cannot be read ahead is nobody's error before it is read.
        disk.fails.store(true, Ordering::Relaxed);
        disk.ahead.lock().unwrap().clear();
        for number in 0..8 {
            assert_eq!(client.call(command::READ, 0, number << 12, 1 << 12, &[]).errno, Errno::Io as u32);
        }
        wait_for_ahead(&disk, 64 << 10);
        disk.fails.store(false, Ordering::Relaxed);
        assert_eq!(client.call(command::READ, 0, 0, 512, &[]).errno, 0);
    }
}

#[test]
fn who_reads_at_random_or_has_much_under_way_is_not_read_ahead_of() {
    let (mut client, _served, disk) = structured();
    for number in 0..200u64 {
        client.call(command::READ, 0, number * 37 % 1000 * 4096, 4096, &[]);
    }
    // All at once: sent one by one, each could be answered before the next one comes.
    let requests: Vec<u8> =
        (0..32u64).flat_map(|number| client.encoded(command::READ, 0, number << 12, 1 << 12, &[])).collect();
    client.say(&requests);
    for number in 0..32 {
        assert_eq!(client.answer(1 << 12).0, 201 + number);
    }
    // The last of what came together is alone, and reads on from there.
    let ahead = disk.ahead.lock().unwrap().clone();
    assert!(ahead.iter().all(|range| range.start >= 32 << 12) && ahead.len() <= 1, "{ahead:?}");
}

#[test]
fn a_client_whose_export_has_ended_is_told_before_it_is_disconnected() {
    let (mut client, served, disk) = structured();
    assert_eq!(client.call(command::READ, 0, 0, 512, &[]).errno, 0);
    disk.is_over.store(true, Ordering::Relaxed);
    let answer = client.call(command::READ, 0, 0, 512, &[]);
    assert_eq!(answer.errno, Errno::Shutdown as u32);
    assert!(answer.text.starts_with("LOG_FENCED: "), "{}", answer.text);
    assert!(client.is_over());
    served.ended().unwrap();
}
