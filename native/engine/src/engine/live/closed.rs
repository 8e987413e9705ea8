//! Logs that could not be opened: what is known of them, and who must wait for that.
//!
//! One machine's log that cannot be opened (an unreadable device, a full disk, no right to it) keeps nobody else from
//! working. Until it is opened after all, nothing is done that it might not bear (I-57):
//!
//! | what it may hold | so meanwhile |
//! | --- | --- |
//! | roots, in superblock and records | they are pinned, or nothing is collected where they cannot be told |
//! | disks that stand on points by their ids | those points keep cut or manifest: all points, where they cannot be told |
//! | a disk that moved there last | a log that may have lost the disk is not served either |

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::LIVE;
use crate::collect::Lease;
use crate::error::{Code, Error};
use crate::format::manifest::Manifest;
use crate::format::node::Root;
use crate::format::superblock::{BaseContent, Superblock};
use crate::io::Io;
use crate::units::Uid;
use crate::write_log::{LogIdentity, Membership, RecordKind, Replay, ReplayedRecord, ResetList, WriteLog};

/// A log that could not be opened, as a caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnavailableLog {
    /// The log: its machine's id, or its detached disk's.
    pub log_id: Uid,
    /// Its disks; none where its superblock cannot be read.
    pub disk_ids: Vec<Uid>,
    /// What opening it failed with.
    pub code: Code,
    /// The same in words.
    pub message: String,
}

/// What a log names, as far as it can be read.
#[derive(Default)]
pub(super) struct Names {
    /// Points that disks stand on by their ids.
    points: BTreeSet<Uid>,
    pub(super) roots: Vec<Root>,
}

/// A log that is not open.
pub(super) struct ClosedLog {
    pub(super) code: Code,
    pub(super) message: String,
    /// None where nobody can tell.
    pub(super) superblock: Option<Superblock>,
    /// None where nobody can tell.
    pub(super) names: Option<Names>,
    /// Pins what it names.
    pub(super) pin: Option<Lease>,
}

impl ClosedLog {
    /// A log that opening failed with `error`, with what can be read of it without changing anything.
    pub(super) fn look(io: &dyn Io, directory: &Path, identity: LogIdentity, error: &Error) -> Self {
        let (code, message) = (error.code(), error.message().to_owned());
        let Ok((superblock, replay)) = WriteLog::look(io, directory, identity) else {
            return Self { code, message, superblock: None, names: None, pin: None };
        };
        let names = replay.ok().filter(|replay| replay.damage.is_none()).and_then(|replay| names_in(&replay));
        Self { code, message, superblock: Some(superblock), names, pin: None }
    }

    /// A log that can be opened, one disk of which may be in another that cannot.
    pub(super) fn waiting(replay: &Replay, disk_id: &Uid, other: &Uid) -> Self {
        let message = format!("its disk {disk_id} may have moved to {LIVE}/{other}, which could not be opened");
        let names = names_in(replay).filter(|_| replay.damage.is_none());
        let superblock = Some(replay.superblock.clone());
        Self { code: Code::LogUnavailable, message, superblock, names, pin: None }
    }

    /// Damage stays what it is: trying again does not help, and what is left of the log may be removed.
    pub(super) fn is_damaged(&self) -> bool {
        self.code == Code::LogDamaged
    }

    pub(super) fn error(&self, log_id: &Uid) -> Error {
        let code = if self.is_damaged() { Code::LogDamaged } else { Code::LogUnavailable };
        let message = format!("the write log {LIVE}/{log_id} could not be opened: {}", self.message);
        Error::new(code, message).with("log", log_id.to_string()).with("reason", self.code.name())
    }

    fn has(&self, disk_id: &Uid) -> Option<u64> {
        let disks = self.superblock.iter().flat_map(|superblock| &superblock.disks);
        disks.filter(|disk| disk.disk_id == *disk_id).map(|disk| disk.generation).max()
    }
}

/// The logs that are not open.
#[derive(Default)]
pub(super) struct ClosedLogs {
    by_id: Mutex<BTreeMap<Uid, ClosedLog>>,
}

impl ClosedLogs {
    pub(super) fn by_id(&self) -> MutexGuard<'_, BTreeMap<Uid, ClosedLog>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ids(&self) -> Vec<Uid> {
        self.by_id().keys().copied().collect()
    }

    /// Why a log that should be there is not.
    pub(super) fn error_of(&self, log_id: &Uid) -> Option<Error> {
        self.by_id().get(log_id).map(|closed| closed.error(log_id))
    }

    /// The same, unless what is left of the log may be removed.
    pub(super) fn kept(&self, log_id: &Uid) -> Option<Error> {
        self.by_id().get(log_id).filter(|closed| !closed.is_damaged()).map(|closed| closed.error(log_id))
    }

    /// Why a disk that no open log has may be there all the same.
    pub(super) fn error_of_disk(&self, disk_id: &Uid) -> Option<Error> {
        let by_id = self.by_id();
        let lists = by_id.iter().find(|(log_id, closed)| *log_id == disk_id || closed.has(disk_id).is_some());
        // Damage that leaves no superblock is told as a finding; whose log it was nobody knows.
        let may = || by_id.iter().find(|(_, closed)| closed.superblock.is_none() && !closed.is_damaged());
        lists.or_else(may).map(|(log_id, closed)| closed.error(log_id))
    }

    /// Whether a point may wait in a log that is not open.
    pub(super) fn may_hold_points(&self) -> bool {
        self.by_id().values().any(|closed| !closed.is_damaged())
    }

    /// A point that is nowhere may wait in a log that is not open.
    pub(super) fn explain(&self, error: Error) -> Error {
        if error.code() != Code::PointNotFound {
            return error;
        }
        let by_id = self.by_id();
        let unavailable = by_id.iter().find(|(_, closed)| !closed.is_damaged());
        unavailable.map_or(error, |(log_id, closed)| closed.error(log_id))
    }

    /// Whether a disk may stand on a point by its id. Points of external disks have manifests before anybody can name them;
    /// what stood on a point in a log without a superblock is lost with it.
    pub(super) fn may_name(&self, point_id: &Uid, manifest: Option<&Manifest>) -> bool {
        if manifest.is_some_and(|manifest| manifest.disks.iter().all(|disk| disk.lsn == 0)) {
            return false;
        }
        let names = |closed: &ClosedLog| match &closed.names {
            Some(names) => names.points.contains(point_id),
            None => !closed.is_damaged(),
        };
        self.by_id().values().any(names)
    }

    /// The first log that names nobody knows what.
    pub(super) fn first_unknown(&self) -> Option<Error> {
        let by_id = self.by_id();
        let unknown = by_id.iter().find(|(_, closed)| closed.names.is_none());
        unknown.map(|(log_id, closed)| closed.error(log_id))
    }

    /// The log, none of those `opening`, that is not open and may have a disk that this log lists too, with the disk: it has a
    /// higher generation of it; or it cannot be read, and the disk was on its way when the log ended.
    pub(super) fn rival_of(
        &self,
        replay: &Replay,
        highest: &BTreeMap<Uid, u64>,
        opening: &BTreeSet<Uid>,
    ) -> Option<(Uid, Uid)> {
        let by_id = self.by_id();
        let others = || by_id.iter().filter(|(log_id, _)| !opening.contains(log_id));
        let unreadable = others().find(|(_, closed)| closed.superblock.is_none()).map(|(log_id, _)| *log_id);
        replay.superblock.disks.iter().find_map(|disk| {
            let has_newer = others().find(|(_, closed)| closed.has(&disk.disk_id) > Some(disk.generation));
            let is_leaving = || {
                let is_newest = highest.get(&disk.disk_id).is_none_or(|highest| *highest <= disk.generation);
                let mut later = replay.records.iter().filter(|record| record.lsn > disk.base_lsn);
                is_newest && later.any(|record| left(record).is_some_and(|left| left == disk.disk_id))
            };
            let rival = has_newer.map(|(log_id, _)| *log_id).or_else(|| unreadable.filter(|_| is_leaving()));
            rival.map(|rival| (rival, disk.disk_id))
        })
    }

    /// As a caller sees them.
    pub(super) fn described(&self) -> Vec<UnavailableLog> {
        let described = |(log_id, closed): (&Uid, &ClosedLog)| UnavailableLog {
            log_id: *log_id,
            disk_ids: closed.superblock.iter().flat_map(|each| each.disks.iter().map(|disk| disk.disk_id)).collect(),
            code: closed.code,
            message: closed.message.clone(),
        };
        self.by_id().iter().map(described).collect()
    }
}

fn left(record: &ReplayedRecord) -> Option<Uid> {
    let body = record.body.as_ref().filter(|_| record.kind == RecordKind::Leave)?;
    Membership::decode(body).ok().map(|left| left.disk_id)
}

/// All that a log names; `None` where a record says something that cannot be read.
fn names_in(replay: &Replay) -> Option<Names> {
    let mut contents: Vec<BaseContent> = replay.superblock.disks.iter().map(|disk| disk.base).collect();
    for record in &replay.records {
        let Some(body) = &record.body else { continue };
        match record.kind {
            RecordKind::Reset => contents.extend(ResetList::decode(body).ok()?.disks.iter().map(|disk| disk.base)),
            RecordKind::Join | RecordKind::Leave => contents.push(Membership::decode(body).ok()?.base),
            _ => {}
        }
    }
    let mut names = Names { points: BTreeSet::new(), roots: super::log::roots_of(&replay.superblock) };
    for content in contents {
        match content {
            BaseContent::Map(root) => names.roots.push(root),
            BaseContent::Point { point_id, .. } => drop(names.points.insert(point_id)),
        }
    }
    Some(names)
}
