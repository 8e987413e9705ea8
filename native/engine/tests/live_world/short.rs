//! Short histories out of few operations on a tiny store: all of them, cut off at every call of the last operation, and with
//! every call failing.

use std::path::Path;

use super::*;

/// What a short history is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Write,
    Flush,
    Fua,
    Trim,
    Cut,
    Copy,
    Release,
    Delete,
    Clone,
    Rotate,
    Move,
    Upkeep,
    Reopen,
}

pub(crate) const OPS: [Op; 13] = [
    Op::Write,
    Op::Flush,
    Op::Fua,
    Op::Trim,
    Op::Cut,
    Op::Copy,
    Op::Release,
    Op::Delete,
    Op::Clone,
    Op::Rotate,
    Op::Move,
    Op::Upkeep,
    Op::Reopen,
];

const SIZE: u64 = 40 << 10;

fn disk(number: u8) -> Uid {
    uid(100 + number)
}

/// Every history of `length` operations, by its number.
pub(crate) fn history_of(number: u64, length: u32) -> Vec<Op> {
    (0..length).map(|at| OPS[(number / (OPS.len() as u64).pow(at)) as usize % OPS.len()]).collect()
}

impl World {
    /// Two disks of one machine with content in maps, and one of another with some in the log; closed.
    pub(crate) fn tiny() -> Self {
        let mut world = Self::new(1);
        for number in 0..3 {
            let (disk_id, machine) = (disk(number), uid(1 + number / 2));
            world.engine().create_disk(&new_disk(disk_id), SIZE, None).unwrap();
            world.logs.insert(disk_id, Log::of([(disk_id, vec![0; SIZE as usize])].into()));
            world.attach_to(disk_id, machine).unwrap();
        }
        for number in 0..3 {
            world.write_some(disk(number), 0, SIZE, false).unwrap();
        }
        world.engine().settle_logs(&Control::default()).unwrap();
        world.write_some(disk(2), 512, 1024, true).unwrap();
        for log in world.logs.values_mut() {
            log.flushed();
        }
        world.engine = None;
        world.memory = world.memory.crash(CrashChoice::ProcessKilled);
        world
    }

    /// The same, on a file system that fails as planned.
    fn copied(&self, plan: FaultPlan) -> (Self, FaultIo) {
        let mut world = self.after(self.memory.crash(CrashChoice::ProcessKilled));
        let faults = FaultIo::over_memory(&world.memory, plan);
        world.faults = Some(faults.clone());
        (world, faults)
    }

    fn log_of(&self, disk_id: Uid) -> Option<Uid> {
        self.all_disks().into_iter().find(|(_, id)| *id == disk_id).map(|(log_id, _)| log_id)
    }

    fn write_some(&mut self, disk_id: Uid, offset: u64, length: u64, fua: bool) -> Outcome {
        let Some(log_id) = self.log_of(disk_id) else { return Ok(()) };
        let bytes = self.fresh_bytes(length);
        let place = offset as usize..(offset + length) as usize;
        self.change(
            log_id,
            |disks| disks.get_mut(&disk_id).unwrap()[place].copy_from_slice(&bytes),
            |engine| engine.write_disk(&disk_id, offset, &bytes, fua).map(drop),
        )?;
        if fua {
            self.logs.get_mut(&log_id).unwrap().flushed();
        }
        self.check_disk(log_id, disk_id)
    }

    fn fresh_bytes(&mut self, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; length as usize];
        self.random.fill(&mut bytes);
        bytes
    }

    fn oldest(&self, wanted: impl Fn(&Point) -> bool) -> Option<Uid> {
        self.points.iter().find(|(_, point)| wanted(point)).map(|(id, _)| *id)
    }

    /// Does it; returns whether there was anything to do.
    pub(crate) fn op(&mut self, op: Op) -> Result<bool, Error> {
        self.log.push(format!("{op:?}"));
        let number = self.log.len() as u64;
        let one = disk((number % 2) as u8);
        match op {
            Op::Write => self.write_some(one, (16 << 10) - 1024 + number % 3 * 512, 2048, false)?,
            Op::Fua => self.write_some(one, number % 9 * 512, 512, true)?,
            Op::Rotate => {
                // Until a segment is full, and a little more.
                for at in 0..3 {
                    self.write_some(disk(0), 512 * at, 36 << 10, false)?;
                }
            }
            Op::Flush => {
                let Some(log_id) = self.log_of(one) else { return Ok(false) };
                self.engine().flush_disk(&one)?;
                self.logs.get_mut(&log_id).unwrap().flushed();
            }
            Op::Trim => {
                let Some(log_id) = self.log_of(one) else { return Ok(false) };
                self.change(
                    log_id,
                    |disks| disks.get_mut(&one).unwrap()[8 << 10..36 << 10].fill(0),
                    |engine| engine.zero_disk(&one, 8 << 10, 28 << 10, true, false).map(drop),
                )?;
            }
            Op::Cut => {
                let count = self.points.len();
                if self.logs[&uid(1)].now().is_empty() {
                    return Ok(false);
                }
                self.cut_of(uid(1))?;
                return Ok(self.points.len() > count);
            }
            Op::Copy => {
                let Some(point_id) = self.oldest(|point| point.state == State::Cut) else { return Ok(false) };
                return self.copy_of(point_id);
            }
            Op::Release => {
                let pending: Vec<Uid> = self.engine().pending_cuts().iter().map(|cut| cut.point_id).collect();
                let copied =
                    self.points.iter().find(|(id, point)| point.state == State::Copied && pending.contains(id));
                let Some(point_id) = copied.map(|(id, _)| *id) else { return Ok(false) };
                self.engine().release_cut(&point_id)?;
            }
            Op::Delete => {
                let Some(point_id) = self.oldest(|point| point.state != State::Unsure) else { return Ok(false) };
                self.points.get_mut(&point_id).unwrap().state = State::Deleting;
                self.engine().remove_point(&point_id)?;
                self.engine().drop_cut(&point_id, &Control::default())?;
                self.points.remove(&point_id);
            }
            Op::Clone => {
                let point_id =
                    self.points.iter().rev().find(|(_, point)| point.state != State::Deleting).map(|(id, _)| *id);
                let Some(point_id) = point_id.filter(|id| self.points[id].state != State::Unsure) else {
                    return Ok(false);
                };
                let Some(from) = self.points[&point_id].disks.keys().next().copied() else { return Ok(false) };
                let disk_id = self.id();
                self.moving = Some(disk_id);
                self.engine().create_disk(&new_disk(disk_id), 0, Some(&DiskReference { point_id, disk_id: from }))?;
                self.moving = None;
                let bytes = self.points[&point_id].disks[&from].clone();
                self.logs.insert(disk_id, Log::of([(disk_id, bytes)].into()));
                self.write_some(disk_id, 1024, 512, false)?;
            }
            Op::Move => match self.log_of(disk(1)) {
                Some(log_id) if is_machine(&log_id) => self.detach_of(disk(1), log_id)?,
                Some(_) => self.attach_to(disk(1), uid(1))?,
                None => return Ok(false),
            },
            Op::Upkeep => {
                self.engine().settle_logs(&Control::default()).or_else(|error| busy_is_fine(Err(error)))?;
                self.engine().collect(false, &Control::default())?;
            }
            Op::Reopen => {
                self.open()?;
                self.adopt_unanswered()?;
                self.drop_unknown_cuts()?;
            }
        }
        Ok(true)
    }

    fn ops(&mut self, ops: &[Op]) -> Result<bool, Error> {
        for op in ops {
            if !self.op(*op)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// It works on: another point of what there is, and all as it should be.
    fn goes_on(&mut self) {
        let went_on = self
            .ops(&[Op::Write, Op::Cut])
            .and_then(|_| self.op(Op::Copy))
            .and_then(|_| self.op(Op::Release))
            .and_then(|_| self.op(Op::Write))
            .and_then(|_| self.check_everything());
        if let Err(error) = went_on {
            self.fail(&format!("{error}"));
        }
        let findings = self.engine().findings();
        if !findings.is_empty() {
            self.fail(&format!("{findings:?}"));
        }
    }
}

/// Runs a history and again, cut off at each call of its last operation; returns how often it was cut off, or nothing when a
/// shorter history is the same.
pub(crate) fn cut_off_in_last(tiny: &World, ops: &[Op]) -> Option<u64> {
    let (last, before) = ops.split_last().unwrap();
    let (mut world, faults) = tiny.copied(FaultPlan::none());
    let outcome = world.open().and_then(|()| world.ops(before));
    match outcome {
        Ok(true) => {}
        Ok(false) => return None,
        Err(error) => world.fail(&format!("{error}")),
    }
    let first = faults.counts().calls;
    match world.op(*last) {
        Ok(true) => {}
        Ok(false) => return None,
        Err(error) => world.fail(&format!("{error}")),
    }
    let end = faults.counts().calls;
    world.check_all();
    world.engine = None;
    let mut cut_off = 0;
    // Behind the last call too.
    for call in first..=end {
        let torn = (call % 2 == 0).then_some(call);
        let (mut world, faults) = tiny.copied(FaultPlan::one(Fault::Crash { call, torn }));
        world.open().and_then(|()| world.ops(before)).unwrap();
        let outcome = world.op(*last);
        // A copy may end well all the same: that another log cannot be told of it is that log's failure alone.
        assert!(outcome.is_err() || faults.has_crashed() || call >= end, "the crash stops the history");
        world.engine = None;
        let other = if call % 2 == 0 { CrashChoice::Seeded(call) } else { CrashChoice::ProcessKilled };
        for choice in [CrashChoice::LoseUnsynced, other] {
            cut_off += 1;
            let mut after = world.after(world.memory.crash(choice));
            after.log.push(format!("{ops:?} cut off at call {call} of {first} to {end}: {choice:?}"));
            if let Err(error) = after.settle(matches!(choice, CrashChoice::ProcessKilled)) {
                after.fail(&format!("{error}"));
            }
            after.goes_on();
        }
    }
    Some(cut_off)
}

/// What one run with a fault made of it.
#[derive(Default)]
pub(crate) struct Struck {
    pub(crate) runs: u64,
    pub(crate) failed_operations: u64,
}

/// Runs a history with a fault at every call.
pub(crate) fn fail_everywhere(tiny: &World, ops: &[Op], stride: u64) -> Struck {
    let (mut world, faults) = tiny.copied(FaultPlan::none());
    world.open().unwrap();
    let (first, first_sync) = (faults.counts().calls, faults.counts().syncs);
    world.ops(ops).unwrap();
    let (calls, syncs) = (faults.counts().calls, faults.counts().syncs);
    world.engine = None;
    let mut plans = Vec::new();
    for lasting in [Lasting::Once, Lasting::Sticky] {
        for failure in [Failure::Device, Failure::NoSpace, Failure::Access] {
            plans.extend((first..calls).map(|call| Fault::FailCall { call, failure, lasting }));
        }
        for failure in [Failure::Device, Failure::NoSpace] {
            plans.extend((first_sync..syncs).map(|sync| Fault::FailSync { sync, failure, lasting }));
        }
    }
    let mut struck = Struck::default();
    for (number, fault) in plans.into_iter().enumerate().filter(|(number, _)| (*number as u64).is_multiple_of(stride)) {
        struck.runs += 1;
        fail_once(tiny, ops, fault, number as u64, &mut struck);
    }
    struck
}

fn fail_once(tiny: &World, ops: &[Op], fault: Fault, number: u64, struck: &mut Struck) {
    let (mut world, faults) = tiny.copied(FaultPlan::one(fault));
    world.log.push(format!("{ops:?} with {fault:?}"));
    if world.open().is_err() {
        return; // it strikes an opening
    }
    for op in ops {
        if world.engine.is_none() {
            break;
        }
        if let Err(error) = world.op(*op) {
            struck.failed_operations += 1;
            world.log.push(format!("  {error}"));
            world.check_what_can_be_read();
        }
    }
    let is_once = matches!(
        fault,
        Fault::FailCall { lasting: Lasting::Once, .. } | Fault::FailSync { lasting: Lasting::Once, .. }
    );
    let hit = faults.calls().into_iter().find(|call| call.struck != stillpoint_engine::io::fault::Struck::No);
    let is_of_other = |path: &Path| path.to_string_lossy().contains(&format!("live/{}", uid(2)));
    if is_once && world.engine.is_some() && hit.is_some_and(|call| !is_of_other(&call.path)) {
        // Another machine does not notice.
        let other = world.write_some(disk(2), 2048, 1024, true).and_then(|()| world.cut_of(uid(2)));
        if let Err(error) = other {
            world.fail(&format!("another machine is hit: {error}"));
        }
    }
    world.engine = None;
    // What a failed sync was to cover may be lost even when only the process ends.
    let is_sync = matches!(fault, Fault::FailSync { .. });
    let choices = [CrashChoice::ProcessKilled, CrashChoice::LoseUnsynced, CrashChoice::Seeded(number)];
    for choice in choices.into_iter().take(if number.is_multiple_of(3) { 3 } else { 2 }) {
        let mut after = world.after(world.memory.crash(choice));
        after.log.push(format!("{choice:?}"));
        let is_killed = matches!(choice, CrashChoice::ProcessKilled) && !is_sync;
        if let Err(error) = after.settle(is_killed) {
            after.fail(&format!("{error}\n{}", faults.log().lines().rev().take(30).collect::<Vec<_>>().join("\n")));
        }
        after.goes_on();
    }
}

impl World {
    /// What failed may be there after an opening, or not.
    fn adopt_unanswered(&mut self) -> Outcome {
        let mut found = Disks::new();
        for (_, disk_id) in self.all_disks() {
            let length = self.engine().live_disks().iter().find(|disk| disk.disk_id == disk_id).map(|disk| disk.size);
            if let Some(length) = length {
                found.insert(disk_id, self.read_disk(disk_id, length as usize)?);
            }
        }
        for log in self.logs.values_mut() {
            let is_found =
                |state: &Disks| state.iter().all(|(id, bytes)| found.get(id).is_none_or(|found| found == bytes));
            if let Some(at) = log.states[log.acknowledged..].iter().rposition(is_found) {
                log.acknowledged += at;
            }
        }
        Ok(())
    }

    /// Reads that do not fail are right: as something that was done to the disk left it, since the last acknowledged.
    fn check_what_can_be_read(&self) {
        if self.engine.is_none() {
            return;
        }
        for (log_id, disk_id) in self.all_disks() {
            let log = &self.logs[&log_id];
            let length = log.now()[&disk_id].len();
            let Ok(found) = self.read_disk(disk_id, length) else { continue };
            if !log.states[log.acknowledged..].iter().any(|state| state.get(&disk_id) == Some(&found)) {
                self.fail(&format!("disk {disk_id} reads as nothing left it"));
            }
        }
        for (point_id, point) in self.points.iter().filter(|(_, point)| point.state != State::Unsure) {
            for (disk_id, expected) in &point.disks {
                let reference = DiskReference { point_id: *point_id, disk_id: *disk_id };
                if let Ok(found) = self.engine().read(&reference, 0, expected.len() as u64)
                    && found != *expected
                {
                    self.fail(&format!("point {point_id} reads as something else"));
                }
            }
        }
    }
}
