//! Live disks come, grow, move between logs and go.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::super::{DiskReference, Engine, SourceRequest};
use super::log::{LiveLog, pin, roots_of};
use super::window::{Window, let_go};
use super::{DiskSeat, Live, no_disk};
use crate::chunk_store::writer::Writer;
use crate::collect::Purpose;
use crate::control::Control;
use crate::cut::Pin;
use crate::disk::{Group, GroupParts};
use crate::error::{Code, Error, Result};
use crate::format::node::Root;
use crate::format::superblock::{BaseContent, SLOT_NAMES, SuperblockDisk};
use crate::io::Io;
use crate::io::parents::directory_above;
use crate::limits::{DISK_BYTES_MAX, SECTOR_BYTES_ALLOWED, SEGMENT_BYTES_FIRST};
use crate::scan::{ScanRequest, Scanned, Scanner};
use crate::units::{Lsn, Uid};
use crate::write_log::{LogIdentity, LogParameters, LogParts, Membership, WriteLog};

/// A segment is at most this part of its file system: one in 64.
const SEGMENT_CAPACITY_SHARE: u64 = 64;

/// A new disk.
#[derive(Clone, Debug)]
pub struct NewDisk {
    /// Its id.
    pub disk_id: Uid,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: String,
    /// Its sector size.
    pub sector_bytes: u32,
}

/// A live disk as its log's superblock says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveDisk {
    /// Its id.
    pub disk_id: Uid,
    /// Its machine; none when it is detached.
    pub machine_id: Option<Uid>,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: String,
    /// Its size now.
    pub size: u64,
    /// Its sector size.
    pub sector_bytes: u32,
    /// How often it changed hands.
    pub generation: u64,
}

/// What a disk is to stand on.
pub(super) struct Origin {
    pub(super) content: BaseContent,
    pub(super) size: u64,
    pub(super) pin: Pin,
}

/// Why no log has a disk that it was to get.
struct NotMade {
    error: Error,
    /// The superblock that lists it may stand in a slot.
    is_unknown: bool,
}

impl NotMade {
    fn at_all(error: Error) -> Self {
        Self { error, is_unknown: false }
    }
}

impl From<NotMade> for Error {
    fn from(not_made: NotMade) -> Self {
        not_made.error
    }
}

impl Engine {
    /// All live disks, by id.
    #[must_use]
    pub fn live_disks(&self) -> Vec<LiveDisk> {
        let Some(live) = &self.live else { return Vec::new() };
        let mut disks = Vec::new();
        for log in live.all_logs() {
            disks.extend(log.group.disks().iter().map(|member| LiveDisk {
                disk_id: member.disk_id,
                machine_id: log.machine_id,
                name: member.name.clone(),
                role: member.role.clone(),
                size: member.size(),
                sector_bytes: member.sector_bytes,
                generation: member.generation,
            }));
        }
        disks.sort_by_key(|disk| disk.disk_id);
        disks
    }

    /// Makes a detached disk: of zeros of this size, or with the content of a point's disk.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID`, `POINT_NOT_FOUND`, `STORE_READ_ONLY`, what writing gives.
    pub fn create_disk(&self, disk: &NewDisk, size: u64, from: Option<&DiskReference>) -> Result<()> {
        self.check_writable()?;
        from.map_or(Ok(()), |from| self.settle_moment(from))?;
        let _alone = self.live().moving();
        let _naming = self.live().naming();
        let origin = match from {
            Some(from) => self.origin(from)?,
            None => {
                let content = BaseContent::Map(Root::empty(size, self.config.chunk_bytes));
                Origin { content, size, pin: Arc::new(()) }
            }
        };
        self.add_disk(disk, &origin)
    }

    /// Makes a detached disk with the content of an image.
    ///
    /// # Errors
    /// As [`Engine::scan`] and [`Engine::create_disk`].
    pub fn import_disk(&self, disk: &NewDisk, source: &SourceRequest, control: &Control) -> Result<Scanned> {
        self.check_writable()?;
        let ((), lease) = self.leases.open(Purpose::Write, || Ok(((), Vec::new())))?;
        let scanner = Scanner {
            io: &self.parts.io,
            clock: self.parts.clock.as_ref(),
            maps: &self.maps,
            thread_count: self.options.thread_count,
        };
        let mut writer = Writer::new(&self.store);
        let scanned = scanner.scan(&[ScanRequest { source: source.clone(), parent: None }], &mut writer, control)?;
        writer.commit()?;
        let Some(scanned) = scanned.first().copied() else { unreachable!("one disk was scanned") };
        let content = BaseContent::Map(scanned.version.root);
        let _alone = self.live().moving();
        self.add_disk(disk, &Origin { content, size: scanned.version.size, pin: Arc::new(()) })?;
        drop(lease);
        Ok(scanned)
    }

    /// Makes an empty log for a machine.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` when it has one, `STORE_READ_ONLY`, what writing gives.
    pub fn create_machine_log(&self, machine_id: &Uid) -> Result<()> {
        self.check_writable()?;
        let live = self.live();
        let _alone = live.moving();
        self.check_removable(machine_id)?;
        if live.log(machine_id).is_ok() {
            let message = format!("the machine {machine_id} has a write log already");
            return Err(Error::new(Code::ArgumentInvalid, message).with("machine", machine_id.to_string()));
        }
        let log = self.new_log(machine_id, Some(*machine_id), Vec::new())?;
        live.logs_mut().insert(*machine_id, log);
        Ok(())
    }

    /// Removes a machine's log, which has neither disks nor cuts. None to remove is no error.
    ///
    /// # Errors
    /// `STORE_BUSY` while it has any, `LOG_UNAVAILABLE`, `STORE_READ_ONLY`, what removing gives.
    pub fn delete_machine_log(&self, machine_id: &Uid) -> Result<()> {
        self.check_writable()?;
        let live = self.live();
        let _alone = live.moving();
        let Ok(log) = live.log(machine_id) else {
            self.check_removable(machine_id)?;
            return self.remove_leftover(machine_id);
        };
        let still = log.moving();
        let has_moments = live.cuts.moments().iter().any(|moment| moment.log.log_id == log.log_id);
        if !log.group.disks().is_empty() || has_moments || has_cuts(live, &log) {
            let message =
                format!("the write log of the machine {machine_id} still has disks, or points that are not copied");
            return Err(Error::new(Code::StoreBusy, message).with("machine", machine_id.to_string()));
        }
        live.logs_mut().remove(machine_id);
        drop(still);
        self.remove_log(&log)
    }

    /// Moves a detached disk into a machine's log. Requests wait meanwhile.
    ///
    /// # Errors
    /// `DISK_NOT_FOUND`, `ARGUMENT_INVALID` when it is attached; what folding and writing give. It is then where it was.
    pub fn attach_disk(&self, disk_id: &Uid, machine_id: &Uid, role: &str) -> Result<()> {
        self.check_writable()?;
        let live = self.live();
        let _alone = live.moving();
        let to = live.log(machine_id)?;
        let seat = live.seat(disk_id)?;
        let mut place = seat.log.write().unwrap_or_else(PoisonError::into_inner);
        let from = place.clone().ok_or_else(|| seat.missing(disk_id))?;
        if from.machine_id.is_some() {
            let message = format!("disk {disk_id} is attached already");
            return Err(Error::new(Code::ArgumentInvalid, message).with("disk", disk_id.to_string()));
        }
        self.fold_all(&from, disk_id)?;
        let (from_still, to_still) = (from.moving(), to.moving());
        let membership = self.leave(&from, disk_id, Some(role))?;
        if let Err(error) = self.join(&to, &membership) {
            if error.is_unknown {
                *place = Some(to.clone()); // the next opening tells; until then it can be read there, and nothing written
            } else {
                to.group.expel(disk_id);
                from.take_back(&membership);
            }
            return Err(error.error);
        }
        *place = Some(to.clone());
        drop((place, from_still, to_still));
        live.logs_mut().remove(&from.log_id);
        let _ = self.remove_log(&from); // the disk has moved; what could not be removed the next opening removes, or the next move
        Ok(())
    }

    /// Moves a disk out of its machine, into a log of its own. Requests wait meanwhile.
    ///
    /// # Errors
    /// `DISK_NOT_FOUND`, `ARGUMENT_INVALID` when it is detached, `STORE_BUSY` while points of the machine wait for their
    /// copies; what folding and writing give. It is then where it was.
    pub fn detach_disk(&self, disk_id: &Uid) -> Result<()> {
        self.check_writable()?;
        let live = self.live();
        let _alone = live.moving();
        let seat = live.seat(disk_id)?;
        let mut place = seat.log.write().unwrap_or_else(PoisonError::into_inner);
        let from = place.clone().ok_or_else(|| seat.missing(disk_id))?;
        if from.machine_id.is_none() {
            let message = format!("disk {disk_id} is not attached");
            return Err(Error::new(Code::ArgumentInvalid, message).with("disk", disk_id.to_string()));
        }
        self.check_removable(disk_id)?;
        self.remove_leftover(disk_id)?; // an older one that stays in the way must not show only when the disk has left
        self.fold_all(&from, disk_id)?;
        let still = from.moving();
        let membership = self.leave(&from, disk_id, None)?;
        let disk = superblock_disk(&membership, Lsn::ZERO);
        let to = match self.new_log(disk_id, None, vec![disk]) {
            Ok(to) => to, // the commit
            Err(NotMade { error, is_unknown: false }) => {
                from.take_back(&membership);
                return Err(error);
            }
            Err(NotMade { error, is_unknown: true }) => {
                // A superblock may be left that names the disk. What is written here would be lost by the next opening then.
                *place = None;
                seat.is_unknown.store(true, Ordering::Release);
                return Err(error);
            }
        };
        live.logs_mut().insert(*disk_id, Arc::clone(&to));
        *place = Some(to);
        drop(place);
        // The disk has moved; what fails here the next opening does, or its coming back.
        let _ = from.change_superblock(&self.leases, |superblock| let_go(superblock, |disk| disk.disk_id == *disk_id));
        drop(still);
        Ok(())
    }

    /// Removes a detached disk with its log. None to remove is no error.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` when it is attached, `DISK_EXPORTED`, `STORE_READ_ONLY`, what removing gives.
    pub fn delete_disk(&self, disk_id: &Uid) -> Result<()> {
        self.check_writable()?;
        self.keep_unexported(&[*disk_id], || self.delete_unexported(disk_id))
    }

    fn delete_unexported(&self, disk_id: &Uid) -> Result<()> {
        let live = self.live();
        let _alone = live.moving();
        let Ok(seat) = live.seat(disk_id) else {
            let is_own = live.closed.ids().contains(disk_id);
            return match live.closed.error_of_disk(disk_id).filter(|_| !is_own) {
                Some(error) => Err(error),
                None => self.remove_leftover(disk_id),
            };
        };
        let mut place = seat.log.write().unwrap_or_else(PoisonError::into_inner);
        let log = place.clone().ok_or_else(|| seat.missing(disk_id))?;
        if log.machine_id.is_some() {
            let message = format!("disk {disk_id} is attached; detach it first");
            return Err(Error::new(Code::ArgumentInvalid, message).with("disk", disk_id.to_string()));
        }
        *place = None;
        drop(place);
        live.seats_mut().remove(disk_id);
        live.logs_mut().remove(&log.log_id);
        self.remove_log(&log)
    }

    /// What a disk of a point is to be stood on: its map, or the point's id while its copy runs.
    pub(super) fn origin(&self, from: &DiskReference) -> Result<Origin> {
        let DiskReference { point_id, disk_id } = from;
        let published = || {
            let (version, lease) = self.leases.open(Purpose::Read, || {
                let version = self.version(from)?;
                Ok((version, vec![version.root]))
            })?;
            Ok(Origin { content: BaseContent::Map(version.root), size: version.size, pin: Arc::new(lease) })
        };
        match (published(), self.live().cuts.get(point_id)) {
            (Ok(origin), _) => Ok(origin),
            // A moment ends with the store, so nothing stands on it by its id (decision 0016): `settle_moment` has made its maps.
            (Err(_), Some(cut)) if cut.is_moment => {
                let size = cut.disk(disk_id)?.size;
                let folded = cut.folded();
                let version = folded.as_ref().and_then(|folded| folded.versions.get(disk_id).copied());
                match (version, folded) {
                    (Some(version), Some(folded)) => {
                        Ok(Origin { content: BaseContent::Map(version.root), size, pin: folded })
                    }
                    _ => Err(Error::new(Code::Internal, format!("disk {disk_id} of a moment was not folded"))),
                }
            }
            (Err(_), Some(cut)) => {
                let size = cut.disk(disk_id)?.size;
                let content = BaseContent::Point { point_id: *point_id, disk_id: *disk_id };
                Ok(Origin { content, size, pin: cut })
            }
            // It was released in between, or is none.
            (Err(_), None) => published().map_err(|error| self.live().explain(error)),
        }
    }

    /// The caller holds `moving`.
    fn add_disk(&self, disk: &NewDisk, origin: &Origin) -> Result<()> {
        let sector = u64::from(disk.sector_bytes);
        let fits = SECTOR_BYTES_ALLOWED.contains(&disk.sector_bytes) && origin.size.is_multiple_of(sector);
        if !fits || !(1..=DISK_BYTES_MAX).contains(&origin.size) {
            let message = format!(
                "a disk has 1 to {DISK_BYTES_MAX} bytes in sectors of {SECTOR_BYTES_ALLOWED:?}, not {} in sectors of {}",
                origin.size, disk.sector_bytes
            );
            let error = Error::new(Code::ArgumentInvalid, message).with("sizeBytes", origin.size);
            return Err(error.with("sectorBytes", sector));
        }
        let live = self.live();
        if live.seat(&disk.disk_id).is_ok() || live.log(&disk.disk_id).is_ok() {
            let message = format!("there is a disk {} already", disk.disk_id);
            return Err(Error::new(Code::ArgumentInvalid, message).with("disk", disk.disk_id.to_string()));
        }
        let listed = SuperblockDisk {
            disk_id: disk.disk_id,
            generation: 1,
            name: disk.name.clone(),
            role: disk.role.clone(),
            sector_bytes: disk.sector_bytes,
            size: origin.size,
            base: origin.content,
            base_lsn: Lsn::ZERO,
        };
        let log = self.new_log(&disk.disk_id, None, vec![listed])?;
        live.logs_mut().insert(disk.disk_id, Arc::clone(&log));
        live.seats_mut().insert(disk.disk_id, DiskSeat::new(log));
        Ok(())
    }

    /// Makes a log, durably. One that could not be made is removed, durably too: after a power cut it would be there again, with
    /// a disk that is elsewhere by then, or stands on a point that is gone.
    fn new_log(
        &self,
        log_id: &Uid,
        machine_id: Option<Uid>,
        disks: Vec<SuperblockDisk>,
    ) -> std::result::Result<Arc<LiveLog>, NotMade> {
        self.check_removable(log_id).map_err(NotMade::at_all)?;
        self.remove_leftover(log_id).map_err(NotMade::at_all)?;
        let made = self.make_log(log_id, machine_id, disks);
        made.map_err(|error| NotMade { error, is_unknown: self.remove_leftover(log_id).is_err() })
    }

    fn make_log(&self, log_id: &Uid, machine_id: Option<Uid>, disks: Vec<SuperblockDisk>) -> Result<Arc<LiveLog>> {
        let live = self.live();
        let identity =
            LogIdentity { store_id: self.config.store_id, log_id: *log_id, machine_id: machine_id.unwrap_or_default() };
        let io = self.parts.io.as_ref();
        match io.create_directory(&live.directory) {
            Ok(()) => io.sync_directory(&self.directory)?,
            Err(error) if error.is_already_exists() => {}
            Err(error) => return Err(error),
        }
        let directory = live.directory.join(log_id.to_string());
        let created = WriteLog::create(self.log_parts(), directory, identity, self.log_parameters()?, disks)?;
        let superblock = created.superblock();
        let pinned = pin(&self.leases, roots_of(&superblock));
        let group = Group::new(self.group_parts(created))?;
        let window = (Window::new(&superblock), Lsn::ZERO);
        Ok(Arc::new(LiveLog::new((machine_id, *log_id), group, window, pinned)))
    }

    /// Folds all that a log holds, so that a disk can leave it. The caller has the disk's seat.
    fn fold_all(&self, from: &Arc<LiveLog>, disk_id: &Uid) -> Result<()> {
        if has_cuts(self.live(), from) {
            return Err(has_points(disk_id));
        }
        let control = Control::default();
        let _hurry = self.live().load.hurry(); // requests on the disk wait
        self.cut_internally(from)?;
        self.settle_origins(from, Lsn(u64::MAX), &control)?;
        let _alone = from.folding();
        while let Some(layer) = from.group.oldest_sealed() {
            if layer.sealed().is_some_and(|sealed| sealed.has_point()) {
                return Err(has_points(disk_id));
            }
            self.fold_away(from, &layer, &control)?;
        }
        Ok(())
    }

    /// Lets a disk leave, durably, with all of it folded. The caller has its seat, and no cut is made meanwhile.
    fn leave(&self, from: &Arc<LiveLog>, disk_id: &Uid, role: Option<&str>) -> Result<Membership> {
        let live = self.live();
        self.fold_all(from, disk_id)?;
        let superblock = from.log().superblock();
        let disk = superblock.disks.iter().find(|disk| disk.disk_id == *disk_id).ok_or_else(|| no_disk(disk_id))?;
        let generation = live.next_generation(disk_id, disk.generation);
        let membership = Membership {
            disk_id: *disk_id,
            generation,
            name: disk.name.clone(),
            role: role.unwrap_or(&disk.role).to_owned(),
            sector_bytes: disk.sector_bytes,
            size: disk.size,
            base: disk.base,
        };
        let mut submission = from.group.submit_leave(&membership)?;
        let left = from.group.append(&mut submission, &[]).and_then(|()| from.group.flush());
        match left {
            Ok(()) => Ok(membership),
            Err(error) => {
                from.take_back(&membership); // nothing is written there any more, but it is read
                Err(error)
            }
        }
    }

    /// Lets a disk join a log: the superblock that lists it is the commit.
    fn join(&self, to: &LiveLog, membership: &Membership) -> std::result::Result<(), NotMade> {
        let mut submission = to.group.submit_join(membership).map_err(NotMade::at_all)?;
        to.group.append(&mut submission, &[]).map_err(NotMade::at_all)?;
        to.group.flush().map_err(NotMade::at_all)?;
        let listed = superblock_disk(membership, submission.lsn());
        to.window().note_joined(membership);
        let committed = to.change_superblock(&self.leases, |superblock| {
            let_go(superblock, |disk| disk.disk_id == listed.disk_id); // a detachment could not take it out
            superblock.disks.push(listed.clone());
        });
        committed.map_err(|error| NotMade { error, is_unknown: to.log().is_fenced().is_some() })
    }

    /// Removes a log that is in no list any more.
    fn remove_log(&self, log: &LiveLog) -> Result<()> {
        log.log().end("its disk moved or was deleted");
        self.remove_leftover(&log.log_id)
    }

    /// Removes what is there of a log that is in no list: a removal failed, or it is damaged.
    fn remove_leftover(&self, log_id: &Uid) -> Result<()> {
        let live = self.live();
        assert!(live.log(log_id).is_err(), "no log that is served is removed");
        let (io, directory) = (self.parts.io.as_ref(), live.directory.join(log_id.to_string()));
        if io.identify(&directory)?.is_some() {
            remove_log_files(io, &directory)?;
        }
        live.unknown().remove(log_id);
        drop(live.closed.by_id().remove(log_id));
        Ok(())
    }

    /// A log that could not be opened is not taken for what a removal left.
    fn check_removable(&self, log_id: &Uid) -> Result<()> {
        self.live().closed.kept(log_id).map_or(Ok(()), Err)
    }

    /// As the options say, and no segment takes more than a part of the file system, which is a local one: over a network a
    /// sync that succeeded may be lost with the server, and locks do not keep others out.
    pub(super) fn log_parameters(&self) -> Result<LogParameters> {
        if let Some(name) = self.parts.io.network_file_system(&self.directory)? {
            let message = format!(
                "{} is on {name}, a network file system; the write logs of managed disks need a local one",
                self.directory.display()
            );
            let error = Error::new(Code::FileSystemUnsupported, message).with("path", self.directory.as_path());
            return Err(error.with("fileSystem", name));
        }
        let capacity = self.parts.io.capacity_bytes(&self.directory)?;
        let share = (capacity / SEGMENT_CAPACITY_SHARE) & !4095;
        let segment_bytes = self.options.log.segment_bytes.min(share.max(SEGMENT_BYTES_FIRST));
        Ok(LogParameters { segment_bytes })
    }

    pub(super) fn log_parts(&self) -> LogParts {
        let super::super::Parts { io, clock, random } = self.parts.clone();
        let writeback = Arc::clone(&self.live().writeback);
        let writeback_due = move || {
            writeback.wake();
        };
        LogParts { io, clock, random, writeback_due: Some(Arc::new(writeback_due)) }
    }

    pub(super) fn group_parts(&self, log: Arc<WriteLog>) -> GroupParts {
        let live = self.live();
        GroupParts {
            log,
            bases: Arc::clone(&live.bases) as Arc<_>,
            gate: Arc::clone(&live.space) as Arc<_>,
            chunk_bytes: u64::from(self.config.chunk_bytes),
        }
    }
}

fn has_points(disk_id: &Uid) -> Error {
    let message = "points of the machine wait for their copies; the disk can be moved after that";
    Error::new(Code::StoreBusy, message).with("disk", disk_id.to_string())
}

/// Whether points wait for their copies. A moment keeps what it needs.
fn has_cuts(live: &Live, log: &LiveLog) -> bool {
    live.cuts.all().iter().any(|cut| cut.log.log_id == log.log_id && !cut.is_moment)
}

pub(super) fn superblock_disk(membership: &Membership, base_lsn: Lsn) -> SuperblockDisk {
    let Membership { disk_id, generation, name, role, sector_bytes, size, base } = membership.clone();
    SuperblockDisk { disk_id, generation, name, role, sector_bytes, size, base, base_lsn }
}

/// Removes a log's directory. Without its superblock it is nobody's log, so that goes first, durably.
pub(super) fn remove_log_files(io: &dyn Io, directory: &Path) -> Result<()> {
    let is_slot = |name: &str| SLOT_NAMES.contains(&name);
    for removes_slots in [true, false] {
        for entry in io.list_directory(directory)?.iter().filter(|entry| is_slot(&entry.name) == removes_slots) {
            io.remove_file(&directory.join(&entry.name))?;
        }
        io.sync_directory(directory)?;
    }
    io.remove_directory(directory)?;
    io.sync_directory(&directory_above(directory))
}
