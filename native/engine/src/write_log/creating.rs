//! A new log.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::carrying::{make_segment, new_salt};
use super::durability::Durability;
use super::segments::Segments;
use super::sequencer::{Filling, Sequencer};
use super::superblock_slots::SuperblockSlots;
use super::watermark::Watermark;
use super::{LogIdentity, LogParameters, LogParts, WriteLog};
use crate::error::{Code, Error, Result};
use crate::format::log_segment::{Incarnation, number_of};
use crate::format::superblock::{
    FirstRecord, ListedIncarnation, ListedLogSegment, SLOT_NAMES, Superblock, SuperblockDisk,
};
use crate::io::parents::{directory_above, make_parents};
use crate::io::{Io, OpenMode};
use crate::limits::SEGMENT_BYTES_FIRST;
use crate::units::Lsn;

pub(super) fn create(
    parts: LogParts,
    directory: PathBuf,
    identity: LogIdentity,
    parameters: LogParameters,
    disks: Vec<SuperblockDisk>,
) -> Result<Arc<WriteLog>> {
    parameters.check()?;
    let io = Arc::clone(&parts.io);
    make_directory(&*io, &directory)?;
    let made = make(parts, directory.clone(), identity, parameters, disks);
    if made.is_err() {
        // What was failed to make leads nobody anywhere; what fails here is taken over by the next try.
        let _ = remove_leftovers(&*io, &directory);
    }
    made
}

fn make(
    parts: LogParts,
    directory: PathBuf,
    identity: LogIdentity,
    parameters: LogParameters,
    disks: Vec<SuperblockDisk>,
) -> Result<Arc<WriteLog>> {
    let io = &*parts.io;
    let incarnation = Incarnation {
        counter: 1,
        salt: new_salt(&*parts.random),
        predecessor_lsn: Lsn::ZERO,
        predecessor_sum: 0,
        carried_first: Lsn(1),
        carried_last: Lsn::ZERO,
        lowest: Lsn(1),
    };
    let segment_bytes = parameters.segment_bytes.min(SEGMENT_BYTES_FIRST);
    let segment = make_segment(&parts, &directory, identity, segment_bytes, 1, incarnation)?;
    io.sync_directory(&directory)?;
    let first = Some(FirstRecord { lsn: incarnation.lowest, predecessor: 0 });
    let superblock = Superblock {
        store_id: identity.store_id,
        log_id: identity.log_id,
        machine_id: identity.machine_id,
        sequence: 0, // nothing is written yet
        durable: Lsn::ZERO,
        incarnations: vec![ListedIncarnation { incarnation, end: None }],
        segments: vec![ListedLogSegment { number: segment.number, incarnation: incarnation.counter, first }],
        disks,
        window: Vec::new(),
        resolutions: Vec::new(),
        cursors: Vec::new(),
    };
    let slots = SuperblockSlots::create(io, &directory, superblock)?;
    let sequencer = Sequencer {
        next: incarnation.lowest,
        predecessor: 0,
        time_ms: 0,
        active: Some(Filling::new(Arc::clone(&segment))),
        prepared: None,
        full: Vec::new(),
        is_awaited: false,
    };
    Ok(WriteLog::assemble(parts, directory, identity, parameters, sequencer, slots, [segment], Lsn::ZERO))
}

/// The directory, empty and durable in name.
fn make_directory(io: &dyn Io, directory: &Path) -> Result<()> {
    make_parents(io, directory)?;
    if io.identify(directory)?.is_none() {
        io.create_directory(directory)?;
    } else {
        match SuperblockSlots::open(io, directory, OpenMode::Read) {
            Ok(_) => {
                let message = format!("there is a write log in {}", directory.display());
                return Err(Error::new(Code::StoreExists, message).with("path", directory));
            }
            Err(error) if error.code() == Code::LogDamaged => remove_leftovers(io, directory)?,
            Err(error) => return Err(error),
        }
    }
    io.sync_directory(&directory_above(directory))
}

fn remove_leftovers(io: &dyn Io, directory: &Path) -> Result<()> {
    for entry in io.list_directory(directory)? {
        if SLOT_NAMES.contains(&entry.name.as_str()) || number_of(&entry.name).is_some() {
            io.remove_file(&directory.join(&entry.name))?;
        }
    }
    Ok(())
}

impl WriteLog {
    #[expect(clippy::too_many_arguments, reason = "one for each part; two callers")]
    pub(super) fn assemble(
        parts: LogParts,
        directory: PathBuf,
        identity: LogIdentity,
        parameters: LogParameters,
        sequencer: Sequencer,
        slots: SuperblockSlots,
        segments: impl IntoIterator<Item = Arc<super::segment::Segment>>,
        durable: Lsn,
    ) -> Arc<Self> {
        Arc::new(Self {
            parts,
            directory,
            identity,
            parameters,
            fence: super::fence::Fence::default(),
            watermark: Watermark::new(durable),
            durability: Durability::new(durable),
            segments: Segments::new(segments),
            sequencer: Mutex::new(sequencer),
            preparing: Mutex::new(()),
            finishing: Mutex::new(()),
            writing_back: super::writing_back::WritingBack::default(),
            slots: Mutex::new(slots),
            holds: super::holds::Holds::default(),
            cut_held_ns: std::sync::atomic::AtomicU64::new(0),
            room: std::sync::OnceLock::new(),
        })
    }
}
