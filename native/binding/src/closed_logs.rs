//! Write logs that could not be opened, or that take no more writes: conversion only.

use napi::bindgen_prelude::Object;
use napi::{Env, Result};
use napi_derive::napi;
use stillpoint_engine::engine::UnavailableLog;
use stillpoint_engine::units::Uid;

use crate::engine_handle::NativeEngine;

/// A log that could not be opened, or takes no more writes.
#[napi(object)]
pub struct UnavailableLogRecord {
    pub log_id: String,
    pub disk_ids: Vec<String>,
    pub code: String,
    pub message: String,
}

#[napi]
impl NativeEngine {
    /// The logs that could not be opened; empty once closed.
    #[napi]
    #[must_use]
    pub fn unavailable_logs(&self) -> Vec<UnavailableLogRecord> {
        let logs = self.opened().map(|engine| engine.unavailable_logs()).unwrap_or_default();
        logs.iter().map(UnavailableLogRecord::of).collect()
    }

    /// The logs that take no more writes because writing failed, and can be read; empty once closed.
    #[napi]
    #[must_use]
    pub fn fenced_logs(&self) -> Vec<UnavailableLogRecord> {
        let logs = self.opened().map(|engine| engine.fenced_logs()).unwrap_or_default();
        logs.iter().map(UnavailableLogRecord::of).collect()
    }

    /// Tries again to open the ones, and opens the others anew.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<undefined | Failure>")]
    pub fn reopen_logs<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        self.call(env, |engine| engine.reopen_logs())
    }
}

impl UnavailableLogRecord {
    fn of(log: &UnavailableLog) -> Self {
        Self {
            log_id: log.log_id.to_string(),
            disk_ids: log.disk_ids.iter().map(Uid::to_string).collect(),
            code: log.code.name().into(),
            message: log.message.clone(),
        }
    }
}
