//! Segments written ahead of their commit, so that a writer of very many frames needs little memory.
//!
//! A staged segment covers packs that are durable and that nobody else has heard of. It lies under a temporary name and
//! is in no list; the commit takes it over as it is, or merges it.

use super::run::Run;
use super::segment_writer::SegmentWriter;
use super::{Index, Segment};
use crate::chunk_store::pack_set::{Pack, PackSet};
use crate::chunk_store::pack_writer::SealedPack;
use crate::error::Result;
use crate::format::index_list::ListedSegment;
use crate::units::{ContentId, u64_from};

/// A segment that is not in force yet.
pub struct Staged {
    listed: ListedSegment,
    segment: Segment, // its packs are unknown to it until the commit opens it anew
    packs: Vec<Pack>,
}

impl Staged {
    /// The packs that it covers.
    #[must_use]
    pub fn packs(&self) -> &[Pack] {
        &self.packs
    }

    /// The segment as a list will have it.
    pub(super) const fn listed(&self) -> ListedSegment {
        self.listed
    }

    /// Whether one of its packs holds this content. A page that cannot be read says no: then the content is stored
    /// twice, which is allowed, and the commit reports what is wrong.
    #[must_use]
    pub fn holds(&self, id: &ContentId) -> bool {
        matches!(self.segment.has_entry(id), Ok(Ok(true)))
    }
}

impl Index {
    /// Writes a staged segment of these packs' frames, durable but for its name.
    ///
    /// # Errors
    /// What writing gives; nothing is left then.
    pub fn stage(&self, packs: &PackSet, sealed: &[SealedPack]) -> Result<Staged> {
        let number = self.draw_segment_number();
        let written = self.write_staged(number, packs, sealed);
        if written.is_err() {
            let _ = self.io.remove_file(&self.temporary_path(number)); // the next open would
        }
        written
    }

    /// Removes a staged segment that was not committed. Errors are not of interest: the next open removes it.
    pub fn discard(&self, staged: &Staged) {
        let _ = self.io.remove_file(&self.temporary_path(staged.listed.number)); // under its name it is the index's
    }

    fn write_staged(&self, number: u64, packs: &PackSet, sealed: &[SealedPack]) -> Result<Staged> {
        let run = Run::of(sealed.iter().map(|sealed| (sealed.pack, sealed.entries.as_slice())));
        let table = run.packs.iter().map(|pack| (pack.id, pack.kind)).collect();
        let path = self.temporary_path(number);
        let mut writer = SegmentWriter::create(self.io.as_ref(), &path, table, u64_from(run.entries.len()))?;
        for entry in &run.entries {
            writer.push(*entry, run.base(entry))?;
        }
        let listed = writer.finish(self.store_id, number)?;
        let segment = self.open_written(&path, listed, packs)?;
        Ok(Staged { listed, segment, packs: run.packs })
    }
}
