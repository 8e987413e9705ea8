//! The calls of a run: counted, struck by the plan, and kept to be printed beside a failing seed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::plan::{Counts, Failure, Fault, FaultPlan, Lasting};
use crate::io::OpenMode;

/// What a call was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is named like the method of Io or IoFile that it stands for")]
pub enum Verb {
    Open,
    Identify,
    RenameNew,
    RenameReplace,
    RemoveFile,
    CreateDirectory,
    RemoveDirectory,
    ListDirectory,
    SyncDirectory,
    Lock,
    AvailableBytes,
    CapacityBytes,
    NetworkFileSystem,
    ReadAt,
    WriteAt,
    Sync,
    StartWriteback,
    WriteBack,
    SetLength,
    Allocate,
    ZeroRange,
    NextData,
    Identity,
}

impl Verb {
    /// The method's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Identify => "identify",
            Self::RenameNew => "rename_new",
            Self::RenameReplace => "rename_replace",
            Self::RemoveFile => "remove_file",
            Self::CreateDirectory => "create_directory",
            Self::RemoveDirectory => "remove_directory",
            Self::ListDirectory => "list_directory",
            Self::SyncDirectory => "sync_directory",
            Self::Lock => "lock",
            Self::AvailableBytes => "available_bytes",
            Self::CapacityBytes => "capacity_bytes",
            Self::NetworkFileSystem => "network_file_system",
            Self::ReadAt => "read_at",
            Self::WriteAt => "write_at",
            Self::Sync => "sync",
            Self::StartWriteback => "start_writeback",
            Self::WriteBack => "write_back",
            Self::SetLength => "set_length",
            Self::Allocate => "allocate",
            Self::ZeroRange => "zero_range",
            Self::NextData => "next_data",
            Self::Identity => "identity",
        }
    }
}

/// What a call was about, besides its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing else.
    None,
    /// How it opens.
    Mode(OpenMode),
    /// The new name.
    To(PathBuf),
    /// A byte range.
    Range {
        /// Where it begins.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
    /// A length or an offset.
    At(u64),
}

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Struck {
    /// It was passed on.
    No,
    /// It failed by plan.
    Failed(Failure),
    /// It was the first, or came after the first, that met the simulated crash.
    Crashed,
    /// It was passed on, and one bit of what it read was turned.
    BitFlipped,
}

/// One call of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its number, from 0.
    pub index: u64,
    /// What it was.
    pub verb: Verb,
    /// On what.
    pub path: Arc<Path>,
    /// The rest of its arguments.
    pub detail: Detail,
    /// Whether a fault struck it.
    pub struck: Struck,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} {} {}", self.index, self.verb.name(), self.path.display())?;
        match &self.detail {
            Detail::None => Ok(()),
            Detail::Mode(mode) => write!(f, " {mode:?}"),
            Detail::To(to) => write!(f, " -> {}", to.display()),
            Detail::Range { offset, length } => write!(f, " {offset}+{length}"),
            Detail::At(at) => write!(f, " {at}"),
        }?;
        match self.struck {
            Struck::No => Ok(()),
            Struck::Failed(failure) => write!(f, "  [failed: {failure:?}]"),
            Struck::Crashed => write!(f, "  [crashed]"),
            Struck::BitFlipped => write!(f, "  [bit flipped]"),
        }
    }
}

/// What the plan says about one call.
pub(super) enum Verdict {
    Pass,
    Fail { index: u64, failure: Failure },
    Crash { torn: Option<u64> },
    FlipBit { bit: u64 },
}

/// Counts and log of a run, and the plan it follows.
#[derive(Default)]
pub(super) struct Run {
    pub(super) plan: FaultPlan,
    pub(super) counts: Counts,
    pub(super) crashed: bool,
    pub(super) calls: Vec<Call>,
}

impl Run {
    /// Counts a call, looks up what shall become of it, and logs both.
    pub(super) fn next(&mut self, verb: Verb, path: Arc<Path>, detail: Detail) -> Verdict {
        let before = self.counts;
        self.counts.calls += 1;
        let sync = matches!(verb, Verb::Sync | Verb::SyncDirectory).then_some(before.syncs);
        let read = (verb == Verb::ReadAt).then_some(before.reads);
        self.counts.syncs += u64::from(sync.is_some());
        self.counts.reads += u64::from(read.is_some());
        let verdict = self.verdict(before.calls, sync, read);
        let struck = match verdict {
            Verdict::Pass => Struck::No,
            Verdict::Fail { failure, .. } => Struck::Failed(failure),
            Verdict::Crash { .. } => Struck::Crashed,
            Verdict::FlipBit { .. } => Struck::BitFlipped,
        };
        self.crashed |= struck == Struck::Crashed;
        self.calls.push(Call { index: before.calls, verb, path, detail, struck });
        verdict
    }

    fn verdict(&self, index: u64, sync: Option<u64>, read: Option<u64>) -> Verdict {
        if self.crashed {
            return Verdict::Crash { torn: None };
        }
        let struck = self.plan.faults.iter().find_map(|&fault| match fault {
            Fault::FailCall { call, failure, lasting } if strikes(call, index, lasting) => {
                Some(Verdict::Fail { index, failure })
            }
            Fault::FailSync { sync: planned, failure, lasting }
                if sync.is_some_and(|sync| strikes(planned, sync, lasting)) =>
            {
                Some(Verdict::Fail { index, failure })
            }
            // Not "equal": the crash must come even if an earlier fault in the list struck that very call.
            Fault::Crash { call, torn } if index >= call => Some(Verdict::Crash { torn }),
            Fault::FlipReadBit { read: planned, bit } if read == Some(planned) => Some(Verdict::FlipBit { bit }),
            _ => None,
        });
        struck.unwrap_or(Verdict::Pass)
    }
}

fn strikes(planned: u64, now: u64, lasting: Lasting) -> bool {
    match lasting {
        Lasting::Once => now == planned,
        Lasting::Sticky => now >= planned,
    }
}
