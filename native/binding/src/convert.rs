//! Arguments from JavaScript, checked once, here.

use napi::bindgen_prelude::Either;
use stillpoint_engine::error::{Code, Error, Result};
use stillpoint_engine::units::Uid;

/// The largest integer that a JavaScript number holds exactly.
const SAFE_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// An id of 32 lower-case hexadecimal digits.
pub(crate) fn uid(text: &str, what: &'static str) -> Result<Uid> {
    Uid::parse(text).ok_or_else(|| invalid(what, &format!("32 lower-case hexadecimal digits, not '{text}'")))
}

/// An id, or null.
pub(crate) fn optional_uid(text: Option<&str>, what: &'static str) -> Result<Option<Uid>> {
    text.map(|text| uid(text, what)).transpose()
}

/// A size, offset, length or count.
pub(crate) fn unsigned(number: f64, what: &'static str) -> Result<u64> {
    if number.fract() != 0.0 || !(0.0..=SAFE_INTEGER_MAX).contains(&number) {
        return Err(invalid(what, &format!("an integer from 0 to 2^53 - 1, not {number}")));
    }
    Ok(number as u64)
}

/// A size, offset, length or count that fits 32 bits.
pub(crate) fn unsigned_32(number: f64, what: &'static str) -> Result<u32> {
    u32::try_from(unsigned(number, what)?).map_err(|_| invalid(what, &format!("below 2^32, not {number}")))
}

/// A number for JavaScript. Sizes and offsets are far below 2^53.
pub(crate) fn number(value: u64) -> f64 {
    debug_assert!(value as f64 <= SAFE_INTEGER_MAX);
    value as f64
}

/// `null` in place of nothing: napi leaves absent fields out otherwise.
pub(crate) fn nullable(value: Option<u64>) -> Either<f64, napi::bindgen_prelude::Null> {
    value.map_or(Either::B(napi::bindgen_prelude::Null), |value| Either::A(number(value)))
}

fn invalid(what: &'static str, expected: &str) -> Error {
    Error::new(Code::ArgumentInvalid, format!("{what} must be {expected}")).with("argument", what)
}
