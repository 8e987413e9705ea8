//! The restore points of a region: its manifests.
//!
//! What it guarantees: [`Points::publish`] is the commit of a point: when it returns, the manifest is durable under its
//! final name; if it fails or the machine stops before, there is no manifest of that name, or a whole one.
//! A manifest that is damaged is kept, reported, and its point is not listed; nothing is guessed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

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
    known: RwLock<Manifests>,
}

impl Points {
    /// Reads all manifests below a region's directory.
    ///
    /// # Errors
    /// What reading gives.
    pub fn open(
        io: Arc<dyn Io>,
        directory: PathBuf,
        store_id: Uid,
        chunk_bytes: u32,
    ) -> Result<(Self, Vec<DamagedManifest>)> {
        let points = Self { io, directory, store_id, chunk_bytes, known: RwLock::default() };
        let (sound, damaged) = points.read_all()?;
        *points.known.write().unwrap_or_else(PoisonError::into_inner) = sound;
        Ok((points, damaged))
    }

    /// Reads all manifests anew, for a check of what is on the disk now.
    ///
    /// # Errors
    /// What reading gives.
    pub fn read_all(&self) -> Result<(Manifests, Vec<DamagedManifest>)> {
        let (mut sound, mut damaged) = (BTreeMap::new(), Vec::new());
        for entry in self.io.list_directory(&self.directory.join(MANIFESTS))? {
            let Some(point_id) = entry.name.strip_suffix(EXTENSION).and_then(Uid::parse) else { continue };
            match self.read(point_id)? {
                Ok(manifest) => {
                    sound.insert(point_id, Arc::new(manifest));
                }
                Err(defect) => {
                    damaged.push(DamagedManifest { point_id, file: format!("{MANIFESTS}/{}", entry.name), defect });
                }
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
    /// What writing gives.
    pub fn publish(&self, manifest: Manifest) -> Result<()> {
        assert!(manifest.store_id == self.store_id && manifest.chunk_bytes == self.chunk_bytes);
        let path = self.path(manifest.point_id);
        let temporary = path.with_extension("manifest.tmp");
        let written = self.write(&temporary, &manifest).and_then(|()| self.io.rename_new(&temporary, &path));
        if let Err(error) = written {
            let _ = self.io.remove_file(&temporary); // the next open would
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
        match self.io.remove_file(&self.path(*point_id)) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        self.io.sync_directory(&self.directory.join(MANIFESTS))?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(point_id);
        Ok(())
    }

    /// Moves a manifest into quarantine, durably; its point is no longer listed.
    ///
    /// # Errors
    /// What renaming gives.
    pub fn quarantine(&self, point_id: &Uid) -> Result<()> {
        let place = self.directory.join(QUARANTINE);
        self.io.rename_replace(&self.path(*point_id), &place.join(format!("{point_id}{EXTENSION}")))?;
        self.io.sync_directory(&place)?;
        self.io.sync_directory(&self.directory.join(MANIFESTS))?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(point_id);
        Ok(())
    }

    fn write(&self, path: &Path, manifest: &Manifest) -> Result<()> {
        let file = self.io.open(path, OpenMode::CreateNew)?;
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

    fn path(&self, point_id: Uid) -> PathBuf {
        self.directory.join(MANIFESTS).join(format!("{point_id}{EXTENSION}"))
    }
}
