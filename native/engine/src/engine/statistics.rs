//! What points and machines take: reading only.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Engine, HOME, VERIFY_ATTEMPTS_MAX};
use crate::collect::Purpose;
use crate::control::Control;
use crate::error::{Code, Error, Kind, Result};
use crate::format::manifest::Manifest;
use crate::statistics::Surveyor;
use crate::units::Uid;

pub use crate::statistics::{MachineStatistics, PointStatistics, Statistics};

impl Engine {
    /// Counts what the points need, told apart by the machines in `machine_of`, which are numbers below `machine_count`.
    ///
    /// # Errors
    /// `MANIFEST_DAMAGED`, `NODE_DAMAGED`, `NODE_MISSING`: who needs what is then unknown; `CANCELLED`, what reading gives.
    pub fn statistics(
        &self,
        machine_of: &HashMap<Uid, u32>,
        machine_count: u32,
        control: &Control,
    ) -> Result<Statistics> {
        if let Some(machine) = machine_of.values().find(|machine| **machine >= machine_count) {
            let message = format!("machine {machine} asked for; there are {machine_count}");
            return Err(Error::new(Code::ArgumentInvalid, message));
        }
        let mut attempts = 0;
        loop {
            attempts += 1;
            let packs = self.store.packs().all();
            let counted = self.survey(machine_of, machine_count, control);
            // What is not there may only have been moved meanwhile: by this process's collector, or by another's hand.
            let is_whole = match &counted {
                Ok(statistics) => statistics.missing_count == 0,
                Err(error) => error.kind() != Kind::FixData,
            };
            if is_whole
                || attempts == VERIFY_ATTEMPTS_MAX
                || !(self.store.catch_up()? || self.store.packs().all() != packs)
            {
                return counted;
            }
        }
    }

    fn survey(&self, machine_of: &HashMap<Uid, u32>, machine_count: u32, control: &Control) -> Result<Statistics> {
        let (sound, damaged) = self.points.read_all()?;
        if let Some(damaged) = damaged.first() {
            let message = format!("{HOME}/{}: {}; what its point needs is unknown", damaged.file, damaged.defect);
            return Err(Error::new(Code::ManifestDamaged, message).with("point", damaged.point_id.to_string()));
        }
        self.store.catch_up()?; // after the manifests, so that what they name is there
        // What was deleted since is not counted; the others are pinned, so that what they need stays until all is counted.
        let (manifests, _pin) = self.leases.open(Purpose::Read, || {
            let is_there = |manifest: &Arc<Manifest>| self.read_only() || self.points.get(&manifest.point_id).is_ok();
            let manifests: Vec<Arc<Manifest>> = sound.into_values().filter(is_there).collect();
            let roots = manifests.iter().flat_map(|manifest| manifest.disks.iter().map(|disk| disk.root)).collect();
            Ok((manifests, roots))
        })?;
        Surveyor { maps: &self.maps, manifests: &manifests, machine_of, machine_count }.run(control)
    }
}
