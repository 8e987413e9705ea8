//! Cuts, and what becomes of the layers that they seal: folded into bases, or merged.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::{Group, Submission};
use crate::cut::{Base, Layer, Members, View};
use crate::error::{Code, Error, Result};
use crate::limits::LAYERS_SEALED_MAX;
use crate::units::{Lsn, Uid};
use crate::write_log::{CutBody, Record};

/// A cut: a prefix of the log as the content of all disks.
pub struct Cut {
    /// Everything below it is in the views, nothing above.
    pub lsn: Lsn,
    /// When its record was made, milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
    /// The layer that it sealed.
    pub layer: Arc<Layer>,
    /// The disks there are.
    pub members: Arc<Members>,
    /// A pinned view of each disk; final once the watermark has passed the cut.
    pub views: BTreeMap<Uid, View>,
}

impl Group {
    /// Cuts: all disks, at one position of the log. Appends one record and moves no data. Returns without waiting for records
    /// below the cut that are still on their way; the views are final once `log().wait_until_logged(cut.lsn)` returned.
    ///
    /// # Errors
    /// `LAYERS_FULL`, `NO_SPACE`, `LOG_FENCED`, `LOG_DAMAGED`; a failed write, which fences the log.
    pub fn cut(&self, body: CutBody) -> Result<Cut> {
        let (mut submission, cut) = self.submit_cut(body)?;
        self.append(&mut submission, &[])?;
        Ok(cut)
    }

    /// Begins a cut: it stands, and its record is still to be appended.
    ///
    /// # Errors
    /// As [`Group::cut`].
    pub fn submit_cut(&self, body: CutBody) -> Result<(Submission, Cut)> {
        let _one = self.reshaping.lock().unwrap_or_else(PoisonError::into_inner);
        while self.stack_guard().sealed().len() >= LAYERS_SEALED_MAX {
            // The oldest one is left alone: the copy folds it.
            if !self.merge_from(1) {
                return Err(layers_full());
            }
        }
        let (log, chunk_bytes) = (&self.parts.log, self.parts.chunk_bytes);
        let (ticket, stack) = log.sequence(Record::cut(&body), |lsn| {
            self.change_stack(|stack| {
                stack.seal(lsn, body, chunk_bytes);
                stack.clone()
            })
        })?;
        let (lsn, time_ms) = (ticket.lsn(), ticket.time_ms());
        stack.active().keep(log.hold(lsn)); // until here the sealed layer keeps them, which no one else can drop now
        let Some(layer) = stack.sealed().last().cloned() else { unreachable!("the cut sealed one") };
        let members = Arc::clone(stack.members());
        let views = members.keys().filter_map(|disk_id| Some((*disk_id, stack.view_at(&layer, disk_id)?))).collect();
        let submission = Submission::effectless(ticket, Arc::clone(&layer));
        Ok((submission, Cut { lsn, time_ms, layer, members, views }))
    }

    /// The view of a disk at the cut that sealed a layer.
    #[must_use]
    pub fn view_at(&self, layer: &Arc<Layer>, disk_id: &Uid) -> Option<View> {
        self.stack().view_at(layer, disk_id)
    }

    /// The oldest sealed layer: the next one to fold, once the log is durable past its cut.
    #[must_use]
    pub fn oldest_sealed(&self) -> Option<Arc<Layer>> {
        self.stack_guard().sealed().first().cloned()
    }

    /// Drops the oldest sealed layer: a base for each of its cut's disks that it has anything of holds its content now, and the
    /// superblock says so, durably. Returns whether it still was the oldest; if not, nothing was changed.
    pub fn replace_base(&self, layer: &Arc<Layer>, bases: BTreeMap<Uid, Base>) -> bool {
        let _one = self.reshaping.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = layer.sealed().map(|sealed| sealed.cut);
        // Else a power cut could leave a base with more than the prefix that is left of the log (I-34).
        assert!(
            cut.is_some_and(|cut| cut <= self.parts.log.durable()),
            "a layer is folded once the log is durable past its cut"
        );
        if !self.change_stack(|stack| stack.fold(layer, bases)) {
            return false;
        }
        self.parts.gate.repay(layer.settle());
        true
    }

    /// Merges the oldest two neighbouring layers of which the older one's cut no point needs. With `spares_oldest` the oldest
    /// layer, which a copy may be folding, is left alone. Returns whether there were such.
    ///
    /// Takes time in proportion to their extents; nobody waits for it but cuts and folds.
    pub fn merge_layers(&self, spares_oldest: bool) -> bool {
        let _one = self.reshaping.lock().unwrap_or_else(PoisonError::into_inner);
        self.merge_from(usize::from(spares_oldest))
    }

    fn merge_from(&self, from: usize) -> bool {
        let watermark = self.parts.log.watermark();
        let Some(pair) = self.stack().mergeable(from, watermark) else { return false };
        let [older, newer] = &pair;
        let merged = Layer::merged(older, newer);
        merged.keep(self.parts.log.hold(older.floor()));
        let merged = Arc::new(merged);
        if !self.change_stack(|stack| stack.replace_pair(&pair, Arc::clone(&merged))) {
            return false;
        }
        // The merged one owes at most what both did. First it is counted, so that the counter never shows less than is owed.
        self.parts.gate.charge_anyway(merged.debt_bytes());
        self.parts.gate.repay(older.settle() + newer.settle());
        true
    }
}

fn layers_full() -> Error {
    let message = format!(
        "the log has {LAYERS_SEALED_MAX} layers between points whose copies still run; wait until one has ended, or delete a point"
    );
    Error::new(Code::LayersFull, message)
}
