//! What shall go wrong, as data: a plan can be printed, repeated and shrunk.

use rustix::io::Errno;

use crate::random::Seeded;

/// An errno that a call can be made to fail with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// `EIO`: the device failed.
    Device,
    /// `ENOSPC`: the file system is full.
    NoSpace,
    /// `EACCES`: access was denied.
    Access,
}

impl Failure {
    pub(super) fn errno(self) -> Errno {
        match self {
            Self::Device => Errno::IO,
            Self::NoSpace => Errno::NOSPC,
            Self::Access => Errno::ACCESS,
        }
    }
}

/// How long a failure lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// One call fails.
    Once,
    /// That call and every later one (for [`Fault::FailSync`], every later sync) fails.
    Sticky,
}

/// One thing that goes wrong. Calls, syncs and reads are each counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A call fails. If it is a write, the first half of its sectors is written all the same.
    FailCall {
        /// Which call.
        call: u64,
        /// With what.
        failure: Failure,
        /// For how long.
        lasting: Lasting,
    },
    /// A sync of a file or directory fails. Nothing becomes durable, and over a
    /// [`MemoryIo`](crate::io::memory::MemoryIo) the file's unsynced changes never do.
    FailSync {
        /// Which sync.
        sync: u64,
        /// With what.
        failure: Failure,
        /// For how long.
        lasting: Lasting,
    },
    /// From this call on every call fails as if the process were gone; see
    /// [`is_simulated_crash`](super::is_simulated_crash).
    Crash {
        /// Which call.
        call: u64,
        /// If the call is a write: the seed that says which of its sectors are written before; without, none is.
        torn: Option<u64>,
    },
    /// One bit of what a read returns is wrong; what is stored stays right.
    FlipReadBit {
        /// Which read.
        read: u64,
        /// Which bit of the bytes that were read, modulo their count.
        bit: u64,
    },
}

/// How many calls a run made: the range that faults can be drawn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All calls, names and bytes. Advice is not counted: it cannot fail.
    pub calls: u64,
    /// Syncs of files and directories among them.
    pub syncs: u64,
    /// Reads of bytes among them.
    pub reads: u64,
}

/// Everything that goes wrong in one run. Of several faults that strike one call the first in the list counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// The faults.
    pub faults: Vec<Fault>,
}

impl FaultPlan {
    /// Nothing goes wrong.
    #[must_use]
    pub const fn none() -> Self {
        Self { faults: Vec::new() }
    }

    /// One thing goes wrong.
    #[must_use]
    pub fn one(fault: Fault) -> Self {
        Self { faults: vec![fault] }
    }

    /// One fault of any kind, somewhere in a run that made `counts` calls when nothing went wrong.
    #[must_use]
    pub fn seeded(seed: u64, counts: Counts) -> Self {
        let mut random = Seeded::new(seed);
        let failure = match random.below(3) {
            0 => Failure::Device,
            1 => Failure::NoSpace,
            _ => Failure::Access,
        };
        let lasting = if random.one_in(2) { Lasting::Sticky } else { Lasting::Once };
        let torn = random.next_u64();
        let call = random.below(counts.calls.max(1));
        Self::one(match random.below(4) {
            0 => Fault::FailCall { call, failure, lasting },
            1 => Fault::FailSync { sync: random.below(counts.syncs.max(1)), failure: Failure::Device, lasting },
            2 => Fault::Crash { call, torn: random.one_in(2).then_some(torn) },
            _ => Fault::FlipReadBit { read: random.below(counts.reads.max(1)), bit: random.next_u64() },
        })
    }
}
