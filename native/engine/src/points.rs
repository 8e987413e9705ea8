//! The restore points of a region: its manifests.
//!
//! What it guarantees: [`Points::publish`] is the commit of a point: when it returns, the manifest is durable under its
//! final name; if it fails or the machine stops before, there is no manifest of that name, or a whole one.
//! A manifest that is damaged is kept, reported, and its point is not listed; nothing is guessed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::block_map::DiskVersion;
use crate::error::{Code, Error, Result};
use crate::format::Defect;
use crate::format::manifest::{self, Manifest};
use crate::io::{Io, OpenMode, read_whole};
use crate::units::Uid;

/// The directory of manifests, below the region's.
pub const MANIFESTS: &str = "manifests";

/// The directory of files that nobody can account for, below the region's.
pub const QUARANTINE: &str = "quarantine";

const EXTENSION: &str = ".manifest";

/// A manifest that cannot be used.
#[derive(Clone, Debug)]
pub struct DamagedManifest {
    /// The point that its name says.
    pub point_id: Uid,
    /// The file, relative to the region.
    pub file: String,
    /// What is wrong.
    pub defect: Defect,
}

/// Sound manifests by point.
pub type Manifests = BTreeMap<Uid, Arc<Manifest>>;

/// The points of a region.
pub struct Points {
    io: Arc<dyn Io>,
    directory: PathBuf,
    store_id: Uid,
    chunk_bytes: u32,
    follows: bool,
    known: RwLock<Manifests>,
    change: Mutex<()>, // held while names in the directory change
}

impl Points {
    /// Reads all manifests below a region's directory. `follows`: another process may make and delete points meanwhile.
    ///
    /// # Errors
    /// What reading gives.
    pub fn open(
        io: Arc<dyn Io>,
        directory: PathBuf,
        store_id: Uid,
        chunk_bytes: u32,
        follows: bool,
    ) -> Result<(Self, Vec<DamagedManifest>)> {
        let points =
            Self { io, directory, store_id, chunk_bytes, follows, known: RwLock::default(), change: Mutex::new(()) };
        let (sound, damaged) = points.read_all()?;
        *points.known.write().unwrap_or_else(PoisonError::into_inner) = sound;
        Ok((points, damaged))
    }

    /// Reads all manifests anew, for a check of what is on the disk now; a manifest that is gone although nobody can have removed
    /// its point counts as damaged.
    ///
    /// # Errors
    /// What reading gives.
    pub fn read_all(&self) -> Result<(Manifests, Vec<DamagedManifest>)> {
        let _still = self.change();
        let (mut sound, mut damaged) = (BTreeMap::new(), Vec::new());
        for entry in self.io.list_directory(&self.directory.join(MANIFESTS))? {
            let Some(point_id) = entry.name.strip_suffix(EXTENSION).and_then(Uid::parse) else { continue };
            let read = match self.read(point_id) {
                Err(error) if error.is_not_found() => continue, // gone since the listing: one of the missing, below
                read => read?,
            };
            match read {
                Ok(manifest) => {
                    sound.insert(point_id, Arc::new(manifest));
                }
                Err(defect) => {
                    damaged.push(DamagedManifest { point_id, file: format!("{MANIFESTS}/{}", entry.name), defect });
                }
            }
        }
        for point_id in self.known.read().unwrap_or_else(PoisonError::into_inner).keys() {
            if self.follows {
                break; // whoever writes has deleted those that are missing
            }
            if !sound.contains_key(point_id) && damaged.iter().all(|damaged| damaged.point_id != *point_id) {
                let file = format!("{MANIFESTS}/{point_id}{EXTENSION}");
                damaged.push(DamagedManifest { point_id: *point_id, file, defect: Defect::Wrong("it is gone") });
            }
        }
        Ok((sound, damaged))
    }

    /// All points, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Manifest>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A point.
    ///
    /// # Errors
    /// `POINT_NOT_FOUND`.
    pub fn get(&self, point_id: &Uid) -> Result<Arc<Manifest>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(point_id).cloned().ok_or_else(|| {
            Error::new(Code::PointNotFound, format!("the store has no restore point {point_id}"))
                .with("point", point_id.to_string())
        })
    }

    /// A disk of a point.
    ///
    /// # Errors
    /// `POINT_NOT_FOUND`, `ARGUMENT_INVALID` when the point does not have the disk.
    pub fn disk(&self, point_id: &Uid, disk_id: &Uid) -> Result<DiskVersion> {
        let manifest = self.get(point_id)?;
        let disk = manifest.disks.iter().find(|disk| disk.disk_id == *disk_id).ok_or_else(|| {
            Error::new(Code::ArgumentInvalid, format!("restore point {point_id} does not hold disk {disk_id}"))
                .with("point", point_id.to_string())
                .with("disk", disk_id.to_string())
        })?;
        Ok(DiskVersion { root: disk.root, size: disk.size })
    }

    /// Bytes of all manifests.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.all().iter().map(|manifest| manifest.encode().len() as u64).sum()
    }

    /// Makes a point: its manifest is written under a temporary name, synced, renamed without replacing, and the
    /// directory synced.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` when there is a point of this id; what writing gives.
    pub fn publish(&self, manifest: Manifest) -> Result<()> {
        assert!(manifest.store_id == self.store_id && manifest.chunk_bytes == self.chunk_bytes);
        let _alone = self.change();
        let path = self.path(manifest.point_id);
        let temporary = path.with_extension("manifest.tmp");
        let written = self.write(&temporary, &manifest).and_then(|()| self.io.rename_new(&temporary, &path));
        if let Err(error) = written {
            let _ = self.io.remove_file(&temporary); // the next attempt would, or the next open
            if error.is_already_exists() {
                let message = format!("there is a restore point {} already", manifest.point_id);
                return Err(Error::new(Code::ArgumentInvalid, message).with("point", manifest.point_id.to_string()));
            }
            return Err(error);
        }
        self.io.sync_directory(&self.directory.join(MANIFESTS))?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(manifest.point_id, Arc::new(manifest));
        Ok(())
    }

    /// Removes a point's manifest, durably. Nothing to remove is no error.
    ///
    /// # Errors
    /// What removing gives.
    pub fn remove(&self, point_id: &Uid) -> Result<()> {
        let _alone = self.change();
        match self.io.remove_file(&self.path(*point_id)) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        self.forget(point_id); // also when the sync fails: this is what the directory says
        self.io.sync_directory(&self.directory.join(MANIFESTS))
    }

    /// Moves a manifest into quarantine, durably; its point is no longer listed.
    ///
    /// # Errors
    /// What renaming gives.
    pub fn quarantine(&self, point_id: &Uid) -> Result<()> {
        let _alone = self.change();
        let place = self.directory.join(QUARANTINE);
        self.io.rename_replace(&self.path(*point_id), &place.join(format!("{point_id}{EXTENSION}")))?;
        self.forget(point_id);
        self.io.sync_directory(&place)?;
        self.io.sync_directory(&self.directory.join(MANIFESTS))
    }

    fn write(&self, path: &Path, manifest: &Manifest) -> Result<()> {
        let file = match self.io.open(path, OpenMode::CreateNew) {
            Err(error) if error.is_already_exists() => {
                self.io.remove_file(path)?; // left by an earlier failure of this process
                self.io.open(path, OpenMode::CreateNew)?
            }
            opened => opened?,
        };
        file.write_at(&manifest.encode(), 0)?;
        file.sync()
    }

    fn read(&self, point_id: Uid) -> Result<std::result::Result<Manifest, Defect>> {
        let Some(bytes) = read_whole(self.io.as_ref(), &self.path(point_id), manifest::BYTES_MAX)? else {
            return Ok(Err(Defect::Wrong("it is too long")));
        };
        Ok(Manifest::decode(&bytes).and_then(|manifest| {
            let ours = manifest.point_id == point_id
                && manifest.store_id == self.store_id
                && manifest.chunk_bytes == self.chunk_bytes;
            if ours { Ok(manifest) } else { Err(Defect::Wrong("it belongs to another point or store")) }
        }))
    }

    fn forget(&self, point_id: &Uid) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(point_id);
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, point_id: Uid) -> PathBuf {
        self.directory.join(MANIFESTS).join(format!("{point_id}{EXTENSION}"))
    }
}
