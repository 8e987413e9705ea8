//! An engine error as a record.

use std::collections::HashMap;

use napi::bindgen_prelude::Either;
use napi_derive::napi;
use stillpoint_engine::error::{Error, Value};

/// What a call resolves with instead of its value when it failed.
#[derive(Clone)]
#[napi(object)]
pub struct Failure {
    /// Stable code.
    pub code: String,
    /// What the caller should do.
    pub kind: String,
    /// What failed, on what, expected and found.
    pub message: String,
    /// Paths, ids, offsets.
    pub context: HashMap<String, Either<String, f64>>,
    /// The system call's error in words.
    pub cause: Option<String>,
}

impl Failure {
    /// The record of an engine error.
    pub(crate) fn of(error: &Error) -> Self {
        let value = |value: &Value| match value {
            Value::Text(text) => Either::A(text.clone()),
            Value::Number(number) => Either::B(*number as f64),
        };
        Self {
            code: error.code().name().to_owned(),
            kind: error.kind().name().to_owned(),
            message: error.message().to_owned(),
            context: error.context().iter().map(|(key, found)| ((*key).to_owned(), value(found))).collect(),
            cause: error.cause().map(ToString::to_string),
        }
    }

    /// The same, as calls return it.
    pub(crate) fn boxed(error: &Error) -> Box<Self> {
        Box::new(Self::of(error))
    }

    /// A handle was used after it was closed.
    pub(crate) fn closed(what: &str) -> Box<Self> {
        Box::new(Self {
            code: "STORE_CLOSED".into(),
            kind: "reopen".into(),
            message: format!("{what} is closed"),
            context: HashMap::new(),
            cause: None,
        })
    }

    /// A panic was caught.
    pub(crate) fn panicked(what: &str) -> Self {
        Self {
            code: "INTERNAL".into(),
            kind: "report".into(),
            message: format!("the engine panicked: {what}"),
            context: HashMap::new(),
            cause: None,
        }
    }
}
