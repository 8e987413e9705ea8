//! The end of all writing through one handle.
//!
//! Set once, by the first append, sync or superblock write that fails, by a ticket that is dropped before its record was
//! complete, or by damage that opening found. A failed sync is never tried again on the same file: Linux marks pages clean
//! after it, so the second one would succeed without having written them (Rebello et al., ATC 2020).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Code, Error, Result};

struct Reason {
    code: Code,
    message: String,
}

/// Whether the log takes no more writes, and why.
#[derive(Default)]
pub(super) struct Fence {
    is_set: AtomicBool,
    reason: Mutex<Option<Reason>>,
}

impl Fence {
    /// Sets it; the first reason stays.
    pub(super) fn set(&self, cause: &Error) {
        let mut reason = self.reason();
        if reason.is_none() {
            let code = if cause.code() == Code::LogDamaged { Code::LogDamaged } else { Code::LogFenced };
            *reason = Some(Reason { code, message: cause.message().to_owned() });
            self.is_set.store(true, Ordering::Release);
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// # Errors
    /// `LOG_FENCED` or `LOG_DAMAGED`, with the first reason.
    pub(super) fn check(&self) -> Result<()> {
        if !self.is_set() {
            return Ok(());
        }
        match &*self.reason() {
            None => Ok(()),
            Some(Reason { code: Code::LogDamaged, message }) => Err(Error::new(Code::LogDamaged, message.clone())),
            Some(Reason { code, message }) => {
                Err(Error::new(*code, format!("the write log takes no more writes, since {message}")))
            }
        }
    }

    fn reason(&self) -> MutexGuard<'_, Option<Reason>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
