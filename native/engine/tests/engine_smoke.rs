//! The thread through the house: one store, one disk, two points, on a file system in memory.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, Mutex};

use stillpoint_engine::clock::ManualClock;
use stillpoint_engine::control::Control;
use stillpoint_engine::diff::{Extent, ExtentKind};
use stillpoint_engine::engine::{CreateOptions, DiskReference, Engine, OpenOptions, Parts, ScanDisk};
use stillpoint_engine::format::Codec;
use stillpoint_engine::io::memory::MemoryIo;
use stillpoint_engine::random::Seeded;
use stillpoint_engine::restore::TargetRequest;
use stillpoint_engine::scan::SourceRequest;
use stillpoint_engine::units::Uid;

fn parts(io: &MemoryIo) -> Parts {
    Parts {
        io: Arc::new(io.clone()),
        clock: Arc::new(ManualClock::new(1_000_000_000_000)),
        random: Arc::new(Mutex::new(Seeded::new(7))),
    }
}

#[test]
fn a_captured_image_is_restored_bit_for_bit() {
    let io = MemoryIo::new();
    let mut random = Seeded::new(1);
    let mut image = vec![0u8; 5 << 20];
    random.fill(&mut image[..3 << 20]);
    io.install_file("/os.raw", &image).unwrap();
    let options = CreateOptions { chunk_bytes: 65536, codec: Codec::Zstd, level: 2 };
    let parts = parts(&io);
    Engine::create(&parts, Path::new("/store"), &options).unwrap();
    for thread_count in [1, 3] {
        let options = OpenOptions { thread_count, ..OpenOptions::default() };
        let engine = Engine::open(parts.clone(), Path::new("/store"), options).unwrap();
        let disk_id = Uid([1; 16]);
        let point_id = Uid([thread_count as u8; 16]);
        let source = SourceRequest { path: "/os.raw".into(), sector_bytes: 512, frozen: false };
        let scan = engine.scan(&[ScanDisk { disk_id, source, parent: None }], &Control::default()).unwrap();
        scan.publish(point_id, 5, b"{}".to_vec()).unwrap();
        drop(scan);
        let disk = DiskReference { point_id, disk_id };
        let to = format!("/back{thread_count}.raw");
        let target = TargetRequest { path: to.clone().into(), overwrite: false, sync: true };
        engine.restore(&disk, &target, &Control::default()).unwrap();
        assert_eq!(io.read_file(&to).unwrap(), image);
        let report = engine.verify(true, &Control::default()).unwrap();
        assert_eq!(report.findings, []);
        drop(engine);
        random.fill(&mut image[100_000..200_000]);
        io.install_file("/os.raw", &image).unwrap();
    }
    let engine = Engine::open(parts.clone(), Path::new("/store"), OpenOptions::default()).unwrap();
    let at = |point: u8| DiskReference { point_id: Uid([point; 16]), disk_id: Uid([1; 16]) };
    let mut diff = engine.diff(&at(1), &at(3), Some(512)).unwrap();
    let extents = engine.diff_page(&mut diff, 100, &Control::default()).unwrap();
    assert_eq!(extents, [Extent { offset: 99_840, length: 100_352, kind: ExtentKind::Data }]);
    engine.remove_point(&Uid([1; 16])).unwrap();
    engine.remove_point(&Uid([3; 16])).unwrap();
    engine.collect(false, &Control::default()).unwrap();
    assert_eq!(engine.usage().unwrap().pack_bytes, 0);
}
