//! Scripted short histories for runs that are cut off: what was acknowledged, and what a failure leaves open.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{
    CollectOptions, CollectProgress, Collecting, DiskReference, Engine, OpenOptions, Parts, PreparedPoint, ScanDisk,
    TargetRequest,
};
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
    /// So many steps of a collection; a new one where none is under way. A failed or ended one is forgotten.
    Advance(usize),
    /// Another frame of a chunk of the newest point's first disk, one of several kinds by turns.
    Reencode,
    /// The newest point's disks, compared.
    Restore,
    /// A capture that stops before it publishes; then its end, whatever happened between.
    Begin(&'static [usize]),
    Publish,
    /// New content for the first chunks of disk 0: one of three that are like each other, by turns.
    Turn,
}

/// Re-encodings by turns: chunk and base.
const REENCODINGS: [(u64, Option<u64>); 6] =
    [(0, Some(1)), (1, Some(0)), (0, None), (1, None), (2, Some(0)), (0, Some(2))];

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

/// A capture that has not published: its point, what that holds, and what is prepared.
type Begun = (Uid, Disks, Mutex<Option<PreparedPoint>>);

/// A script under way.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) memory: MemoryIo,
    pub(crate) parts: Parts,
    pub(crate) engine: Option<Arc<Engine>>,
    pub(crate) expected: Expected,
    collecting: Option<Arc<Mutex<Collecting>>>,
    begun: Option<Arc<Begun>>,
    images: Vec<Vec<u8>>,
    points_made: u64,
    turns: u64,
    reencodings: usize,
}

impl Session {
    /// Two disks of twelve chunks, the last one short.
    pub(crate) fn new(seed: u64) -> Self {
        let memory = MemoryIo::new();
        let images: Vec<Vec<u8>> = (0..2).map(|disk| random_bytes(900 + disk, 11 * CHUNK + 512)).collect();
        for (disk, image) in images.iter().enumerate() {
            memory.install_file(image_path(disk), image).unwrap();
        }
        Self::with_images(memory, images, seed)
    }

    /// One disk of three chunks and a bit, all like each other, so that each can be a delta on any.
    pub(crate) fn alike(seed: u64) -> Self {
        let memory = MemoryIo::new();
        let mut image = [alike(0), alike(1), alike(2), random_bytes(901, 512)].concat();
        image[100] = 1;
        memory.install_file(image_path(0), &image).unwrap();
        Self::with_images(memory, vec![image], seed)
    }

    fn with_images(memory: MemoryIo, images: Vec<Vec<u8>>, seed: u64) -> Self {
        let parts = parts(Arc::new(memory.clone()), seed);
        let expected = Expected::default();
        let (engine, collecting, begun) = (None, None, None);
        Self { memory, parts, engine, expected, collecting, begun, images, points_made: 0, turns: 0, reencodings: 0 }
    }

    /// The same session, closed, on another file system that holds the same.
    pub(crate) fn moved(&self, memory: &MemoryIo, io: Arc<dyn Io>, seed: u64) -> Self {
        let (engine, collecting, begun) = (None, None, None);
        Self { memory: memory.clone(), parts: parts(io, seed), engine, collecting, begun, ..self.clone() }
    }

    pub(crate) fn run(&mut self, steps: &[Step]) -> Result<()> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    /// All its disks.
    pub(crate) fn disks(&self) -> &'static [usize] {
        &[0, 1][..self.images.len()]
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
            Step::Collect => {
                self.collecting = None;
                self.begun = None; // it would wait for this writer, whom nobody else lets end
                self.engine().collect(false, &Control::default()).map(drop)
            }
            Step::Advance(count) => self.collect_step(*count),
            Step::Reencode => self.reencode(),
            Step::Restore => self.restore(),
            Step::Begin(disks) => self.begin(disks),
            Step::Publish => self.publish(),
            Step::Turn => {
                self.turns += 1;
                for chunk in 0..2 {
                    self.images[0][chunk * CHUNK..][..CHUNK].copy_from_slice(&alike((self.turns + chunk as u64) % 3));
                }
                self.memory.install_file(image_path(0), &self.images[0])
            }
        }
    }

    /// Gives up what holds the store open.
    pub(crate) fn close(&mut self) {
        self.collecting = None;
        self.begun = None;
        self.engine = None;
    }

    fn collect_step(&mut self, count: usize) -> Result<()> {
        let collecting = match self.collecting.take() {
            Some(collecting) => collecting,
            None => Arc::new(Mutex::new(self.engine().begin_collect(CollectOptions::default())?)),
        };
        for _ in 0..count {
            let progress = collecting.lock().unwrap().step(&Control::default())?;
            if progress == CollectProgress::Ended {
                return Ok(());
            }
        }
        self.collecting = Some(collecting);
        Ok(())
    }

    fn reencode(&mut self) -> Result<()> {
        let (chunk, base) = REENCODINGS[self.reencodings % REENCODINGS.len()];
        self.reencodings += 1;
        let Some((point_id, disks)) = self.expected.points.last_key_value() else { return Ok(()) };
        let Some(disk) = disks.keys().next() else { return Ok(()) };
        let version = DiskReference { point_id: *point_id, disk_id: disk_id(*disk) };
        self.engine().reencode(&version, chunk, base).map(drop)
    }

    fn restore(&self) -> Result<()> {
        let Some((point_id, disks)) = self.expected.points.last_key_value() else { return Ok(()) };
        for (disk, bytes) in disks {
            let path = "/images/restored.raw";
            self.memory.install_file(path, &vec![0; bytes.len()])?;
            let target = TargetRequest { path: path.into(), overwrite: true, sync: false };
            let version = DiskReference { point_id: *point_id, disk_id: disk_id(*disk) };
            self.engine().restore(&version, &target, &Control::default())?;
            assert!(self.memory.read_file(path).as_ref() == Some(&**bytes), "{version:?} restored differs");
        }
        Ok(())
    }

    fn begin(&mut self, disks: &[usize]) -> Result<()> {
        self.begun = None;
        let point_id = uid(self.points_made);
        self.points_made += 1;
        let prepared = self.engine().scan(&self.requests(disks), &Control::default())?;
        let content = disks.iter().map(|disk| (*disk, Arc::new(self.images[*disk].clone()))).collect();
        self.begun = Some(Arc::new((point_id, content, Mutex::new(Some(prepared)))));
        Ok(())
    }

    fn publish(&mut self) -> Result<()> {
        let Some(begun) = self.begun.take() else { return Ok(()) };
        let (point_id, content, prepared) = &*begun;
        let Some(prepared) = prepared.lock().unwrap().take() else { return Ok(()) };
        self.expected.unsure.insert(*point_id, content.clone());
        prepared.publish(*point_id, self.points_made, b"{}".to_vec())?;
        self.expected.points.extend(self.expected.unsure.remove_entry(point_id));
        Ok(())
    }

    fn requests(&self, disks: &[usize]) -> Vec<ScanDisk> {
        let newest = |disk: usize| self.expected.points.iter().rfind(|(_, disks)| disks.contains_key(&disk));
        disks.iter().map(|disk| scan_disk(*disk, newest(*disk).map(|(point_id, _)| *point_id))).collect()
    }

    pub(crate) fn open(&mut self, options: OpenOptions) -> Result<()> {
        self.close();
        self.engine = Some(Engine::open(self.parts.clone(), Path::new(STORE), options)?);
        Ok(())
    }

    pub(crate) fn capture(&mut self, disks: &[usize], control: &Control) -> Result<()> {
        let point_id = uid(self.points_made);
        self.points_made += 1;
        let requests = self.requests(disks);
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
        // When one of the packs could not be removed, its neighbours, which were named to go as well, were counted on again.
        script(
            "capture of what was collected",
            &[one.clone(), vec![change(0, 1, 4, 44), Step::Capture(&[0])]].concat(),
            [rest(0), vec![Step::Capture(&[0, 1])]].concat(),
        ),
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
    for _ in 0..8 {
        let (disk, number) = (random.below(2) as usize, random.next_u64());
        steps.push(match random.below(14) {
            0 | 1 => Step::Change { disk, first: number as usize % 10, count: 1 + number as usize % 3, seed: number },
            2 | 3 => Step::Capture(&[0, 1]),
            4 => Step::Capture(&[0]),
            5 => Step::Delete(number as usize % 2),
            6 => Step::Collect,
            7 | 8 => Step::Advance(1 + number as usize % 3),
            9 => Step::Begin(&[0, 1]),
            10 => Step::Publish,
            11 => Step::Reencode,
            12 => Step::Turn,
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

/// Every history of up to `length` operations after a small store was made: capture, delete, a collection's step,
/// re-encode, restore, reopen.
pub(crate) fn short_histories(length: usize, stride: usize) -> Vec<Vec<Step>> {
    let operations = [
        vec![Step::Turn, Step::Capture(&[0])],
        vec![Step::Delete(0)],
        vec![Step::Advance(stride)],
        vec![Step::Reencode],
        vec![Step::Restore],
        vec![Step::Open],
    ];
    let mut all: Vec<Vec<usize>> = vec![Vec::new()];
    let mut histories = Vec::new();
    for _ in 0..length {
        all = all.iter().flat_map(|before| (0..operations.len()).map(|next| [&before[..], &[next]].concat())).collect();
        histories.extend(all.iter().map(|history| {
            // What is cut off later is the last operation, so it stands alone.
            history.iter().flat_map(|operation| operations[*operation].clone()).collect()
        }));
    }
    histories
}

/// A chunk's content: three that differ in a few bytes.
fn alike(number: u64) -> Vec<u8> {
    let mut bytes = random_bytes(77, CHUNK);
    let at = 1000 + 3000 * number as usize;
    bytes[at..at + 50].copy_from_slice(&random_bytes(78 + number, 50));
    bytes
}

/// Whether an error may come out of a call whose I/O failed: it has a code that fits, and none that means damage.
pub(crate) fn is_operating(code: Code) -> bool {
    matches!(code, Code::IoFailed | Code::NoSpace | Code::PermissionDenied | Code::StoreFenced)
}
