//! Checking a region: what is damaged or missing, and which ranges of which disk restore points that hits.
//!
//! What it is: index pages, pack headers and trailers, manifests' maps down to the last node, and whether every chunk
//! they name is there; with `read_data` also every frame of every pack, proven as a reader would.
//! What it guarantees: it reads from the files, not from caches; it reports and repairs nothing.
//! What it must not import: `scan`, `restore`, the engine's top.

mod packs;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use crate::block_map::{DiskVersion, MapReader, Reached, ranges_on};
use crate::chunk_store::index::{Index, IndexDamage};
use crate::chunk_store::{Batch, ChunkStore};
use crate::control::Control;
use crate::error::{Code, Error, Result};
use crate::format::manifest::Manifest;
use crate::format::{Defect, PackKind};
use crate::units::{ContentId, Uid};

/// Ranges of one disk restore point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The point.
    pub point_id: Uid,
    /// The disk.
    pub disk_id: Uid,
    /// Sorted, disjoint, maximal.
    pub ranges: Vec<Range<u64>>,
}

/// The code for a file that cannot be used: of a newer version, or damaged.
#[must_use]
pub const fn code_of(defect: Defect, damaged: Code) -> Code {
    match defect {
        Defect::Newer(_) => Code::StoreNewerFormat,
        Defect::Wrong(_) => damaged,
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the store.
    pub file: String,
    /// Where in it, when not all of it is meant.
    pub place: Option<Range<u64>>,
    /// Which code a reader would get.
    pub code: Code,
    /// In words.
    pub message: String,
    /// What it hits.
    pub hits: Vec<Hit>,
}

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Points whose maps were walked.
    pub points_checked: u64,
    /// Frames proven with `read_data`, chunks looked up without.
    pub chunks_checked: u64,
    /// Bytes of packs read.
    pub bytes_read: u64,
}

/// A finding whose hits are still to be found.
struct Suspect {
    finding: Finding,
    ids: Vec<ContentId>,
}

/// Verifies a region's chunks, nodes and index against these manifests.
pub struct Verifier<'a> {
    /// Block maps, and the store behind them.
    pub maps: &'a MapReader,
    /// The points to check.
    pub manifests: &'a [Arc<Manifest>],
    /// Where the region lies in the store, for files' names.
    pub region: &'a str,
}

impl Verifier<'_> {
    /// Checks everything; with `read_data` every frame.
    ///
    /// # Errors
    /// `CANCELLED`, what reading gives. Damage is no error but a finding.
    pub fn run(&self, read_data: bool, control: &Control) -> Result<Report> {
        let store = self.maps.store();
        let mut report = Report::default();
        let mut suspects = Vec::new();
        if read_data {
            control.add_total(store.packs().all().iter().map(|(_, pack)| pack.bytes).sum());
        }
        store.packs().close_files();
        self.check_index(&mut report)?;
        for (handle, _) in store.packs().all() {
            packs::check(self, handle, read_data, control, &mut report, &mut suspects)?;
        }
        let reached = self.walk(control, &mut report)?;
        self.check_presence(&reached, &mut report, &mut suspects, read_data)?;
        self.find_hits(suspects, &reached, &mut report)?;
        Ok(report)
    }

    fn store(&self) -> &ChunkStore {
        self.maps.store()
    }

    fn name(&self, file: &str) -> String {
        format!("{}/{file}", self.region)
    }

    fn check_index(&self, report: &mut Report) -> Result<()> {
        let (segments, mut damage) = self.store().reread_index()?;
        for segment in segments {
            let mut stream = segment.stream();
            loop {
                match stream.next()? {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(defect) => {
                        damage.push(IndexDamage { file: Index::file_name(&segment), defect });
                        break;
                    }
                }
            }
        }
        report.findings.extend(damage.into_iter().map(|damage| Finding {
            file: self.name(&format!("index/{}", damage.file)),
            place: None,
            code: Code::IndexDamaged,
            message: format!("{}; the packs' trailers are used instead", damage.defect),
            hits: Vec::new(),
        }));
        Ok(())
    }

    fn walk(&self, control: &Control, report: &mut Report) -> Result<Reached> {
        let mut reached = Reached::default();
        for manifest in self.manifests {
            for disk in &manifest.disks {
                reached.add(self.maps, &disk.root, control, |error| match error.code() {
                    Code::NodeDamaged | Code::NodeMissing => Ok(error.message().to_owned()),
                    _ => Err(error),
                })?;
            }
            report.points_checked += 1;
        }
        Ok(reached)
    }

    /// Every chunk that a map names is known to the index. (Whether its frame is sound, `read_data` has seen.)
    fn check_presence(
        &self,
        reached: &Reached,
        report: &mut Report,
        suspects: &mut Vec<Suspect>,
        read_data: bool,
    ) -> Result<()> {
        let mut missing = Vec::new();
        for id in &reached.chunks {
            if self.store().locate(id)?.is_empty() {
                missing.push(*id);
            }
        }
        if !read_data {
            report.chunks_checked = reached.chunks.len() as u64;
        }
        missing.sort_unstable();
        if let Some(first) = missing.first() {
            let message =
                format!("no pack of the store holds {} chunks that block maps name, {first} first", missing.len());
            suspects.push(self.suspect("packs", None, Code::ChunkMissing, message, missing));
        }
        // A node whose frame was found damaged is suspected already.
        let suspected: HashSet<ContentId> = suspects.iter().flat_map(|suspect| suspect.ids.iter().copied()).collect();
        let mut unreadable: Vec<_> = reached.unreadable.iter().filter(|(id, _)| !suspected.contains(*id)).collect();
        unreadable.sort_unstable();
        for (id, why) in unreadable {
            suspects.push(self.suspect("packs", None, Code::NodeDamaged, why.clone(), vec![*id]));
        }
        Ok(())
    }

    fn suspect(
        &self,
        file: &str,
        place: Option<Range<u64>>,
        code: Code,
        message: String,
        ids: Vec<ContentId>,
    ) -> Suspect {
        Suspect { finding: Finding { file: self.name(file), place, code, message, hits: Vec::new() }, ids }
    }

    /// Fills in which ranges stand on what is damaged. Content of which another frame is sound hits nobody.
    fn find_hits(&self, suspects: Vec<Suspect>, reached: &Reached, report: &mut Report) -> Result<()> {
        let mut batch = Batch::default();
        let mut verdicts: HashMap<ContentId, bool> = HashMap::new();
        let mut judge = |id: &ContentId| -> Result<bool> {
            if let Some(bad) = verdicts.get(id) {
                return Ok(*bad);
            }
            let bad = reached.unreadable.contains_key(id)
                || (reached.nodes.contains(id) && unreadable(self.store(), PackKind::Nodes, id, &mut batch)?)
                || (reached.chunks.contains(id) && unreadable(self.store(), PackKind::Chunks, id, &mut batch)?);
            verdicts.insert(*id, bad);
            Ok(bad)
        };
        let mut per_suspect = Vec::with_capacity(suspects.len());
        for suspect in &suspects {
            let mut bad = HashSet::new();
            for id in &suspect.ids {
                if judge(id)? {
                    bad.insert(*id);
                }
            }
            per_suspect.push(bad);
        }
        // A node below another bad one cannot be reached; its ranges are those of the upper one.
        let every_bad: HashSet<ContentId> = reached.unreadable.keys().copied().collect();
        for (mut suspect, bad) in suspects.into_iter().zip(per_suspect) {
            if !bad.is_empty() {
                suspect.finding.hits = self.hits(&bad, &every_bad)?;
            }
            report.findings.push(suspect.finding);
        }
        Ok(())
    }

    fn hits(&self, bad: &HashSet<ContentId>, unreadable: &HashSet<ContentId>) -> Result<Vec<Hit>> {
        let mut hits = Vec::new();
        let mut clean = HashSet::new();
        for manifest in self.manifests {
            for disk in &manifest.disks {
                let version = DiskVersion { root: disk.root, size: disk.size };
                let ranges = ranges_on(self.maps, &version, bad, unreadable, &mut clean)?;
                if !ranges.is_empty() {
                    hits.push(Hit { point_id: manifest.point_id, disk_id: disk.disk_id, ranges });
                }
            }
        }
        Ok(hits)
    }
}

fn unreadable(store: &ChunkStore, kind: PackKind, id: &ContentId, batch: &mut Batch) -> Result<bool> {
    match store.get(kind, id, batch) {
        Ok(_) => Ok(false),
        Err(error) if is_damage(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

fn is_damage(error: &Error) -> bool {
    matches!(error.code(), Code::ChunkDamaged | Code::ChunkMissing | Code::NodeDamaged | Code::NodeMissing)
}
