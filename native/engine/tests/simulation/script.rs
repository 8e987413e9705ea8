//! Scripted short histories for runs that are cut off: what was acknowledged, and what a failure leaves open.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{DiskReference, Engine, OpenOptions, Parts, ScanDisk};
use stillpoint_engine::error::{Code, Result};
use stillpoint_engine::io::Io;
use stillpoint_engine::io::memory::MemoryIo;
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::Uid;

use super::content::random_bytes;
use super::store::{CHUNK, CREATE, OPEN, STORE, disk_id, image_path, parts, read_all, scan_disk, uid};

/// A step of a script.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Create,
    Open,
    /// New random content for some chunks of a disk.
    Change {
        disk: usize,
        first: usize,
        count: usize,
        seed: u64,
    },
    Capture(&'static [usize]),
    /// Deletes the oldest point but `0..n`.
    Delete(usize),
    Collect,
}

/// A script: what was there before, and what is cut off.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) name: &'static str,
    pub(crate) before: Vec<Step>,
    pub(crate) steps: Vec<Step>,
}

type Disks = BTreeMap<usize, Arc<Vec<u8>>>;

/// What a store must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// `create` returned.
    pub(crate) created: bool,
    /// Their publishing returned, and nobody began to delete them.
    pub(crate) points: BTreeMap<Uid, Disks>,
    /// Gone or whole: publishing or deleting them was cut off.
    pub(crate) unsure: BTreeMap<Uid, Disks>,
}

impl Expected {
    /// Compares with what an open store lists and reads.
    pub(crate) fn check(&self, engine: &Engine) -> std::result::Result<(), String> {
        let listed: Vec<Uid> = engine.manifests().iter().map(|manifest| manifest.point_id).collect();
        if let Some(lost) = self.points.keys().find(|point_id| !listed.contains(point_id)) {
            return Err(format!("point {lost} was acknowledged and is not listed"));
        }
        for point_id in &listed {
            let Some(disks) = self.points.get(point_id).or_else(|| self.unsure.get(point_id)) else {
                return Err(format!("point {point_id} should not exist"));
            };
            for (disk, bytes) in disks {
                let version = DiskReference { point_id: *point_id, disk_id: disk_id(*disk) };
                let read = read_all(engine, &version).map_err(|error| format!("{version:?}: {error}"))?;
                if read != **bytes {
                    return Err(format!("{version:?} differs"));
                }
            }
        }
        Ok(())
    }

    /// Takes what is listed for settled.
    pub(crate) fn settle(&mut self, engine: &Engine) {
        for manifest in engine.manifests() {
            if let Some(disks) = self.unsure.remove(&manifest.point_id) {
                self.points.insert(manifest.point_id, disks);
            }
        }
        self.unsure.clear();
        self.created = true;
    }
}

/// A script under way.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) memory: MemoryIo,
    pub(crate) parts: Parts,
    pub(crate) engine: Option<Arc<Engine>>,
    pub(crate) expected: Expected,
    images: Vec<Vec<u8>>,
    points_made: u64,
}

impl Session {
    /// Two disks of twelve chunks, the last one short.
    pub(crate) fn new(seed: u64) -> Self {
        let memory = MemoryIo::new();
        let images: Vec<Vec<u8>> = (0..2).map(|disk| random_bytes(900 + disk, 11 * CHUNK + 512)).collect();
        for (disk, image) in images.iter().enumerate() {
            memory.install_file(image_path(disk), image).unwrap();
        }
        let parts = parts(Arc::new(memory.clone()), seed);
        Self { memory, parts, engine: None, expected: Expected::default(), images, points_made: 0 }
    }

    /// The same session, closed, on another file system that holds the same.
    pub(crate) fn moved(&self, memory: &MemoryIo, io: Arc<dyn Io>, seed: u64) -> Self {
        Self { memory: memory.clone(), parts: parts(io, seed), engine: None, ..self.clone() }
    }

    pub(crate) fn run(&mut self, steps: &[Step]) -> Result<()> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.engine.as_ref().expect("the script opened the store")
    }

    pub(crate) fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Create => {
                Engine::create(&self.parts, Path::new(STORE), &CREATE)?;
                self.expected.created = true;
                Ok(())
            }
            Step::Open => self.open(OPEN),
            Step::Change { disk, first, count, seed } => {
                let range = first * CHUNK..((first + count) * CHUNK).min(self.images[*disk].len());
                self.images[*disk][range.clone()].copy_from_slice(&random_bytes(*seed, range.len()));
                self.memory.install_file(image_path(*disk), &self.images[*disk])
            }
            Step::Capture(disks) => self.capture(disks, &Control::default()),
            Step::Delete(skip) => self.delete(*skip),
            Step::Collect => self.engine().collect(false, &Control::default()).map(drop),
        }
    }

    pub(crate) fn open(&mut self, options: OpenOptions) -> Result<()> {
        self.engine = None;
        self.engine = Some(Engine::open(self.parts.clone(), Path::new(STORE), options)?);
        Ok(())
    }

    pub(crate) fn capture(&mut self, disks: &[usize], control: &Control) -> Result<()> {
        let point_id = uid(self.points_made);
        self.points_made += 1;
        let newest = |disk: usize| self.expected.points.iter().rfind(|(_, disks)| disks.contains_key(&disk));
        let requests: Vec<ScanDisk> =
            disks.iter().map(|disk| scan_disk(*disk, newest(*disk).map(|(point_id, _)| *point_id))).collect();
        let prepared = self.engine().scan(&requests, control)?;
        let content = disks.iter().map(|disk| (*disk, Arc::new(self.images[*disk].clone())));
        self.expected.unsure.insert(point_id, content.collect());
        prepared.publish(point_id, self.points_made, b"{}".to_vec())?;
        self.expected.points.extend(self.expected.unsure.remove_entry(&point_id));
        Ok(())
    }

    fn delete(&mut self, skip: usize) -> Result<()> {
        let Some(point_id) = self.expected.points.keys().nth(skip).copied() else { return Ok(()) };
        self.expected.unsure.extend(self.expected.points.remove_entry(&point_id));
        self.engine().remove_point(&point_id)?;
        self.expected.unsure.remove(&point_id);
        Ok(())
    }
}

/// What publishing, removing, indexing and collecting do, one script each.
pub(crate) fn scripts() -> Vec<Script> {
    let change = |disk, first, count, seed| Step::Change { disk, first, count, seed };
    let one = vec![Step::Create, Step::Open, Step::Capture(&[0, 1])];
    let two = [one.clone(), vec![change(0, 2, 3, 1), change(1, 0, 1, 2), Step::Capture(&[0, 1])]].concat();
    let rest = |skip| vec![Step::Open, Step::Delete(skip), Step::Collect];
    let script = |name, before: &[Step], steps: Vec<Step>| Script { name, before: before.to_vec(), steps };
    vec![
        script("create", &[], vec![Step::Create]),
        script("first capture", &one[..1], vec![Step::Open, Step::Capture(&[0])]),
        script("capture of an increment", &one, vec![change(0, 4, 2, 3), Step::Open, Step::Capture(&[0])]),
        script("capture of two disks", &one[..1], vec![Step::Open, Step::Capture(&[1, 0])]),
        script("capture of nothing new", &one, vec![Step::Open, Step::Capture(&[0, 1])]),
        script("delete", &two, vec![Step::Open, Step::Delete(0)]),
        script("collect that rewrites packs", &two, rest(0)),
        script("collect that removes packs", &two, [rest(0), rest(0)].concat()),
        script(
            "merge of the index",
            &two,
            vec![change(1, 5, 1, 5), Step::Open, Step::Capture(&[1]), change(1, 6, 1, 6), Step::Capture(&[1])],
        ),
    ]
}

/// A script drawn from a seed.
pub(crate) fn drawn(seed: u64) -> Script {
    let mut random = Seeded::new(seed);
    let mut steps = vec![Step::Open];
    for _ in 0..6 {
        let (disk, number) = (random.below(2) as usize, random.next_u64());
        steps.push(match random.below(8) {
            0 | 1 => Step::Change { disk, first: number as usize % 10, count: 1 + number as usize % 3, seed: number },
            2 | 3 => Step::Capture(&[0, 1]),
            4 => Step::Capture(&[0]),
            5 => Step::Delete(number as usize % 2),
            6 => Step::Collect,
            _ => Step::Open,
        });
    }
    let before = vec![
        Step::Create,
        Step::Open,
        Step::Capture(&[0, 1]),
        Step::Change { disk: 0, first: 1, count: 4, seed },
        Step::Capture(&[0]),
    ];
    Script { name: "drawn", before, steps }
}

/// Whether an error may come out of a call whose I/O failed: it has a code that fits, and none that means damage.
pub(crate) fn is_operating(code: Code) -> bool {
    matches!(code, Code::IoFailed | Code::NoSpace | Code::PermissionDenied | Code::StoreFenced)
}
