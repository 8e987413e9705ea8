//! A live disk as an export.

use std::sync::{Arc, RwLock};

use super::super::super::Engine;
use super::super::limiting::Cost;
use super::super::{DiskSeat, no_disk};
use super::stretches::{Stretches, status_of};
use super::{ALLOCATION, CACHE_BYTES_MAX, DEPTH, ExportLabel, touch};
use crate::error::Result;
use crate::limits::LIMIT_LOOK_NS;
use crate::nbd::{Export, Facts, StatusExtent};
use crate::units::{Uid, u64_from};

/// One client's hold on a live disk. All requests go the way that those of the library go: rates, pace, debt, log.
pub(super) struct LiveExport {
    engine: Arc<Engine>,
    seat: Arc<DiskSeat>,
    disk_id: Uid,
    facts: Facts,
}

impl LiveExport {
    pub(super) fn open(engine: Arc<Engine>, disk_id: Uid, label: ExportLabel) -> Result<Self> {
        let seat = engine.live().seat(&disk_id)?;
        let mut exports = seat.exports();
        let disk = engine.live_disks().into_iter().find(|disk| disk.disk_id == disk_id);
        let disk = disk.ok_or_else(|| no_disk(&disk_id))?;
        let facts = label.facts(disk.size, disk.sector_bytes, engine.read_only());
        *exports += u64::from(!facts.is_read_only);
        drop(exports);
        Ok(Self { engine, seat, disk_id, facts })
    }

    /// Waits until the disk's rates let a request begin. It holds up nobody but its own client.
    fn begin(&self, bytes: u64) {
        let cost = Cost { operations: 1, bytes };
        loop {
            match self.engine.begin_request(&self.disk_id, cost) {
                0 => return,
                wait_ns => self.engine.wait_ns(wait_ns.min(LIMIT_LOOK_NS)), // rates may be changed, or count no more
            }
        }
    }
}

impl Drop for LiveExport {
    fn drop(&mut self) {
        *self.seat.exports() -= u64::from(!self.facts.is_read_only);
    }
}

impl Export for LiveExport {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.begin(u64_from(buffer.len()));
        self.engine.read_seat(&self.seat, &self.disk_id, offset, buffer)
    }

    fn write(&self, offset: u64, bytes: &[u8], durable: bool) -> Result<()> {
        self.begin(u64_from(bytes.len()));
        self.engine.write_seat(&self.seat, &self.disk_id, offset, bytes, durable).map(drop)
    }

    fn write_zeroes(&self, offset: u64, length: u64, durable: bool) -> Result<()> {
        self.begin(0);
        self.engine.zero_seat(&self.seat, &self.disk_id, offset..offset + length, false, durable).map(drop)
    }

    fn trim(&self, offset: u64, length: u64, durable: bool) -> Result<()> {
        self.begin(0);
        self.engine.zero_seat(&self.seat, &self.disk_id, offset..offset + length, true, durable).map(drop)
    }

    fn flush(&self) -> Result<()> {
        self.engine.flush_seat(&self.seat, &self.disk_id)
    }

    fn cache(&self, offset: u64, length: u64) -> Result<()> {
        let length = length.min(CACHE_BYTES_MAX);
        self.begin(length);
        self.read_ahead(offset, length)?;
        let view = self.engine.seat_view(&self.seat, &self.disk_id)?;
        touch(&view, offset, length, |at, scrap| self.engine.read_seat(&self.seat, &self.disk_id, at, scrap))
    }

    fn read_ahead(&self, offset: u64, length: u64) -> Result<()> {
        let view = self.engine.seat_view(&self.seat, &self.disk_id)?;
        self.engine.live().read_view_ahead(&view, offset..offset + length)
    }

    fn sector_lock(&self) -> &RwLock<()> {
        &self.seat.sectors
    }

    fn is_at_hand(&self, offset: u64, length: u64) -> bool {
        self.engine.is_seat_at_hand(&self.seat, &self.disk_id, offset, length)
    }

    fn has_ended(&self) -> bool {
        self.seat.has_ended()
    }

    fn contexts(&self) -> Vec<String> {
        vec![ALLOCATION.to_owned(), DEPTH.to_owned()]
    }

    fn has_context(&self, name: &str) -> Result<bool> {
        Ok([ALLOCATION, DEPTH].contains(&name))
    }

    fn status(&self, context: &str, offset: u64, length: u64, extents_max: usize) -> Result<Vec<StatusExtent>> {
        let view = self.engine.seat_view(&self.seat, &self.disk_id)?;
        let stretches = Stretches::of(&self.engine.live().bases);
        let found = stretches.of_view(&view, offset..offset + length)?;
        Ok(status_of(&found, extents_max, |kind| if context == DEPTH { kind.depth() } else { kind.allocation() }))
    }
}
