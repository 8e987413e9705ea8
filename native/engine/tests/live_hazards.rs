//! Hazards of live disks, one by one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use live::model::{check_live, check_view};
use live::{CHUNK_BYTES, World, cut_body, membership, uid};
use stillpoint_engine::cut::View;
use stillpoint_engine::disk::Group;
use stillpoint_engine::error::{Code, Result};
use stillpoint_engine::format::superblock::BaseContent;
use stillpoint_engine::io::fault::{Failure, Fault, FaultPlan, Lasting};
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::Lsn;
use stillpoint_engine::write_log::ResetDisk;

const BYTES: usize = 64 << 10;

fn two_disks() -> (World, Arc<Group>) {
    let world = World::new(1);
    let group = world.create(&[(uid(1), vec![1; BYTES]), (uid(2), vec![2; BYTES])]);
    (world, group)
}

fn read(group: &Group, view: &View) -> Vec<u8> {
    let mut bytes = vec![0xaa; usize::try_from(view.size()).unwrap()];
    group.read_view(view, 0, &mut bytes).unwrap();
    bytes
}

fn code<T>(result: Result<T>) -> Code {
    result.err().unwrap().code()
}

#[test]
fn a_late_write_below_the_cut_goes_into_the_sealed_layer_and_one_above_it_does_not() {
    let (_world, group) = two_disks();
    let mut late = group.submit_write(&uid(1), 0, &[7; 4096]).unwrap();
    let cut = group.cut(cut_body(9)).unwrap();
    let mut above = group.submit_write(&uid(1), 512, &[8; 512]).unwrap();
    group.append(&mut above, &[8; 512]).unwrap();
    assert!(!group.is_done(&above).unwrap(), "a lower LSN is still on its way");
    assert!(group.log().watermark() < cut.lsn);
    group.append(&mut late, &[7; 4096]).unwrap();
    assert!(group.is_done(&above).unwrap() && group.is_done(&late).unwrap());
    let mut expected = vec![1; BYTES];
    expected[..4096].fill(7);
    check_view(&group, &cut.views[&uid(1)], &expected, "the point has the late write");
    assert_eq!(cut.layer.extent_count(), 1);
    expected[512..1024].fill(8);
    check_live(&group, &[(uid(1), expected), (uid(2), vec![2; BYTES])].into());
}

#[test]
fn a_cut_waits_for_nobody_and_nobody_for_the_cut() {
    let (_world, group) = two_disks();
    let mut late = group.submit_write(&uid(1), 0, &[7; 512]).unwrap();
    let (mut cutting, cut) = group.submit_cut(cut_body(9)).unwrap();
    let mut next = group.submit_write(&uid(2), 0, &[8; 512]).unwrap();
    group.append(&mut next, &[8; 512]).unwrap();
    group.append(&mut cutting, &[]).unwrap();
    group.append(&mut late, &[7; 512]).unwrap();
    assert!(group.log().watermark() >= next.lsn());
    assert_eq!(read(&group, &cut.views[&uid(2)]), vec![2; BYTES]);
}

#[test]
fn a_submission_that_is_never_appended_fences_the_log_and_nothing_else_is_acknowledged() {
    let (_world, group) = two_disks();
    drop(group.submit_write(&uid(1), 0, &[7; 512]).unwrap());
    assert_eq!(code(group.write(&uid(2), 0, &[8; 512], false)), Code::LogFenced);
    assert_eq!(code(group.cut(cut_body(9))), Code::LogFenced);
    let mut bytes = [0; 512];
    group.read(&uid(2), 0, &mut bytes).unwrap();
    assert_eq!(bytes, [2; 512], "reading goes on");
}

#[test]
fn a_write_that_fails_fences_the_log() {
    let world = World::faulty(1, FaultPlan::none());
    drop(world.create(&[(uid(1), vec![1; BYTES])]));
    let calls = world.io.counts().calls;
    let fault = Fault::FailCall { call: calls, failure: Failure::Device, lasting: Lasting::Sticky };
    let world = World::faulty(1, FaultPlan::one(fault));
    let group = world.create(&[(uid(1), vec![1; BYTES])]);
    assert_eq!(code(group.write(&uid(1), 0, &[7; 512], false)), Code::IoFailed);
    assert_eq!(code(group.write(&uid(1), 0, &[7; 512], false)), Code::LogFenced);
}

#[test]
fn what_a_record_means_is_decided_at_its_lsn_live_and_after_a_replay() {
    let (world, group) = two_disks();
    // The disk becomes smaller between the check of a write and its LSN. Its first record got one before, so it stands.
    let small = ResetDisk { disk_id: uid(1), base: world.bases.add(vec![3; 4096]), size: 4096 };
    let mut reset = group.submit_reset(&[small]).unwrap();
    assert_eq!(code(group.submit_write(&uid(1), 8192, &[7; 512])), Code::ArgumentInvalid);
    let mut before = vec![0xaa; 4096];
    group.append(&mut reset, &[]).unwrap();
    group.read(&uid(1), 0, &mut before).unwrap();
    assert_eq!(before, vec![3; 4096]);
    group.grow(&uid(1), 16384).unwrap();
    let mut grown = vec![0xaa; 16384];
    group.read(&uid(1), 0, &mut grown).unwrap();
    assert_eq!(
        (&grown[..4096], &grown[4096..]),
        (&[3; 4096][..], &[0; 12288][..]),
        "nothing of before the reset comes back"
    );
    drop(group);
    let (group, _) = world.open().unwrap();
    check_live(&group, &[(uid(1), grown), (uid(2), vec![2; BYTES])].into());
}

#[test]
fn writes_beside_resets_that_make_the_disk_smaller_are_the_same_live_and_after_a_replay() {
    for seed in 0..4 {
        let (world, group) = two_disks();
        let (small, large) = (world.bases.add(vec![3; 4096]), world.bases.add(vec![4; BYTES]));
        std::thread::scope(|scope| {
            for writer in 0..4u64 {
                let group = Arc::clone(&group);
                scope.spawn(move || {
                    let mut random = Seeded::new(seed * 10 + writer);
                    for round in 0..150u64 {
                        let (offset, bytes) = (random.below(120) * 512, [round as u8; 2048]);
                        match group.write(&uid(1), offset, &bytes, false) {
                            Ok(_) => {}
                            Err(error) => {
                                // Also where the disk is large again by the time that the reason is told.
                                assert_eq!(error.code(), Code::ArgumentInvalid, "{error:?}");
                                let size = ("sizeBytes", 4096u64.into());
                                assert!(error.context().contains(&size), "{error:?}");
                            }
                        }
                    }
                });
            }
            for _ in 0..100 {
                for (base, size) in [(small, 4096), (large, BYTES as u64)] {
                    group.reset(&[ResetDisk { disk_id: uid(1), base, size }]).unwrap();
                }
            }
        });
        let live = read(&group, &group.view(&uid(1)).unwrap());
        drop(group);
        let (group, _) = world.open().unwrap();
        check_live(&group, &[(uid(1), live), (uid(2), vec![2; BYTES])].into());
    }
}

#[test]
fn a_pinned_view_reads_on_after_its_layers_were_merged_folded_and_released() {
    let (world, group) = two_disks();
    let mut views = Vec::new();
    for round in 0..6u8 {
        group.write(&uid(1), u64::from(round) * 512, &[10 + round; 512], false).unwrap();
        let cut = group.cut(cut_body(100 + u64::from(round))).unwrap();
        views.push((cut.views[&uid(1)].clone(), read(&group, &cut.views[&uid(1)])));
        cut.layer.sealed().unwrap().release_point();
        for filler in 0..40 {
            group.write(&uid(2), filler * 512, &[round; 512], false).unwrap();
        }
    }
    assert!(group.merge_layers(false) && group.merge_layers(false));
    while world.fold_oldest(&group) {}
    assert_eq!(group.layer_count(), 1);
    let retained = group.log().retained_bytes();
    for (view, bytes) in &views {
        assert!(read(&group, view) == *bytes);
    }
    drop(views);
    group.log().release(group.stack().active().floor()).unwrap();
    assert!(group.log().retained_bytes() <= retained);
    let pins: Vec<_> = group.disks();
    assert_eq!(world.bases.pin_count(), pins.len() as u64, "what was pinned for the views is free");
}

#[test]
fn a_log_that_is_full_of_layers_with_points_refuses_a_cut_and_takes_one_when_a_point_goes() {
    let (_world, group) = two_disks();
    let mut layers = Vec::new();
    for point in 0..8 {
        group.write(&uid(1), point * 512, &[9; 512], false).unwrap();
        layers.push(group.cut(cut_body(100 + point)).unwrap().layer);
    }
    assert_eq!(code(group.cut(cut_body(200))), Code::LayersFull);
    layers[4].sealed().unwrap().release_point();
    let cut = group.cut(cut_body(200)).unwrap();
    assert_eq!(group.layer_count(), 9);
    assert_eq!(read(&group, &cut.views[&uid(1)])[..4096], [9; 4096]);
    // The one that a copy may be folding is spared, though no point needs it.
    layers[0].sealed().unwrap().release_point();
    assert_eq!(code(group.cut(cut_body(201))), Code::LayersFull);
}

#[test]
fn layers_are_not_merged_before_all_their_records_are_in() {
    let (_world, group) = two_disks();
    group.cut(cut_body(0)).unwrap();
    let mut late = group.submit_write(&uid(1), 0, &[7; 512]).unwrap();
    group.cut(cut_body(0)).unwrap();
    assert!(!group.merge_layers(false));
    group.append(&mut late, &[7; 512]).unwrap();
    assert!(group.merge_layers(false));
    assert_eq!(group.layer_count(), 2);
}

#[test]
fn a_copy_of_a_layer_that_was_merged_meanwhile_changes_nothing() {
    let (world, group) = two_disks();
    group.write(&uid(1), 0, &[7; 512], false).unwrap();
    let copied = group.cut(cut_body(0)).unwrap().layer;
    group.cut(cut_body(0)).unwrap();
    assert!(group.merge_layers(false));
    group.flush().unwrap();
    assert!(!group.replace_base(&copied, std::collections::BTreeMap::new()));
    assert!(world.fold_oldest(&group));
    assert_eq!(group.layer_count(), 1);
}

#[test]
fn debt_is_charged_for_each_chunk_once_and_ends_writes_before_they_have_an_lsn() {
    let (world, group) = two_disks();
    group.write(&uid(1), 0, &[7; 512], false).unwrap();
    let once = world.gate.owed();
    assert!(once > CHUNK_BYTES);
    group.write(&uid(1), 1024, &[7; 2048], false).unwrap();
    assert_eq!(world.gate.owed(), once, "the same chunk");
    world.gate.limit.store(once, Ordering::Relaxed);
    let watermark = group.log().watermark();
    assert_eq!(code(group.write(&uid(1), 8192, &[7; 512], false)), Code::NoSpace);
    assert_eq!((group.log().watermark(), world.gate.owed()), (watermark, once), "it has no LSN and costs nothing");
    group.write(&uid(1), 512, &[8; 512], false).unwrap();
    let mut bytes = [0; 512];
    group.read(&uid(1), 0, &mut bytes).unwrap();
    // Cuts and folding bring the space back.
    group.cut(cut_body(9)).unwrap();
    assert_eq!(code(group.write(&uid(1), 0, &[7; 512], false)), Code::NoSpace, "the next layer stores the chunk again");
    assert!(world.fold_oldest(&group));
    assert_eq!(world.gate.owed(), 0);
    group.write(&uid(1), 0, &[7; 512], false).unwrap();
}

#[test]
fn a_disk_on_a_point_whose_copy_still_runs_reads_from_it_and_from_its_map_once_it_is_resolved() {
    let (world, group) = two_disks();
    let content = world.bases.add(vec![5; BYTES]);
    let base = world.bases.add_point(uid(77), uid(78), content);
    group.reset(&[ResetDisk { disk_id: uid(2), base, size: BYTES as u64 }]).unwrap();
    let cut = group.cut(cut_body(9)).unwrap();
    assert_eq!(read(&group, &group.view(&uid(2)).unwrap()), vec![5; BYTES]);
    group.resolve_point(&uid(77), &[(uid(78), content)].into()).unwrap();
    assert!(matches!(group.view(&uid(2)).unwrap().bottom().unwrap().content, BaseContent::Map(_)));
    assert!(matches!(cut.views[&uid(2)].bottom().unwrap().content, BaseContent::Map(_)));
    assert_eq!(read(&group, &cut.views[&uid(2)]), vec![5; BYTES]);
}

#[test]
fn a_join_that_the_superblock_does_not_list_is_void_when_the_log_is_opened() {
    let (world, group) = two_disks();
    let disk = world.superblock_disk(uid(3), &[3; 4096], Lsn::ZERO, 2);
    let mut joining = group.submit_join(&membership(&disk)).unwrap();
    group.append(&mut joining, &[]).unwrap();
    group.write(&uid(3), 0, &[9; 512], true).unwrap();
    drop(group);
    let (group, _) = world.open().unwrap();
    assert_eq!(code(group.disk(&uid(3))), Code::DiskNotFound);
    check_live(&group, &[(uid(1), vec![1; BYTES]), (uid(2), vec![2; BYTES])].into());
}

#[test]
fn bad_arguments_get_their_code_and_change_nothing() {
    let (world, group) = two_disks();
    let size = BYTES as u64;
    for (offset, length) in
        [(size, 512), (size - 512, 1024), (1, 512), (0, 511), (u64::MAX, 512), (u64::MAX - 511, 512)]
    {
        assert_eq!(code(group.write(&uid(1), offset, &vec![7; length], false)), Code::ArgumentInvalid);
        assert_eq!(code(group.trim(&uid(1), offset, length as u64)), Code::ArgumentInvalid);
        assert_eq!(code(group.read(&uid(1), offset, &mut vec![0; length])), Code::ArgumentInvalid);
    }
    for (offset, length) in [(0, u64::MAX), (512, u64::MAX - 511), (0, size + 512)] {
        assert_eq!(code(group.write_zeroes(&uid(1), offset, length, false, false)), Code::ArgumentInvalid);
    }
    for smaller in [0, size - 512, size + 1, u64::MAX] {
        assert_eq!(code(group.grow(&uid(1), smaller)), Code::ArgumentInvalid);
    }
    assert_eq!(code(group.write(&uid(9), 0, &[7; 512], false)), Code::DiskNotFound);
    assert_eq!(code(group.read(&uid(9), 0, &mut [0; 512])), Code::DiskNotFound);
    assert_eq!(code(group.view(&uid(9))), Code::DiskNotFound);
    let base = world.bases.add(Vec::new());
    assert_eq!(code(group.reset(&[ResetDisk { disk_id: uid(9), base, size: 512 }])), Code::DiskNotFound);
    assert_eq!(code(group.reset(&[ResetDisk { disk_id: uid(1), base, size: 511 }])), Code::ArgumentInvalid);
    let twice = ResetDisk { disk_id: uid(1), base, size: 512 };
    assert_eq!(code(group.reset(&[twice.clone(), twice])), Code::ArgumentInvalid);
    // Nothing to do is nothing done.
    assert_eq!(group.write(&uid(1), size, &[], false).unwrap(), Lsn::ZERO);
    assert_eq!(group.trim(&uid(1), 0, 0).unwrap(), Lsn::ZERO);
    assert_eq!(group.grow(&uid(1), size).unwrap(), Lsn::ZERO);
    assert_eq!(group.reset(&[]).unwrap(), Lsn::ZERO);
    assert_eq!(world.gate.owed(), 0);
    check_live(&group, &[(uid(1), vec![1; BYTES]), (uid(2), vec![2; BYTES])].into());
}
