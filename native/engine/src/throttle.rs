//! Rates: how long somebody who works through bytes has to wait. Pure; the waiting is its caller's, by the injected clock.

/// Bytes that may be worked through at once after standing still: what a tenth of a second allows.
const BURST_PARTS: u64 = 10;

const NANOSECONDS: u128 = 1_000_000_000;

/// Keeps an average number of bytes a second.
#[derive(Clone, Debug)]
pub struct Throttle {
    bytes_per_second: u64,
    allowance: i128, // bytes, times a thousand million
    last_ns: i128,
}

impl Throttle {
    /// A throttle that begins now. Its rate is at least 1.
    #[must_use]
    pub fn new(bytes_per_second: u64, now_ns: i128) -> Self {
        assert!(bytes_per_second > 0);
        Self { bytes_per_second, allowance: 0, last_ns: now_ns }
    }

    /// Notes that bytes were worked through; returns for how many nanoseconds to wait. A clock that goes back counts as one
    /// that stands still.
    pub fn take(&mut self, bytes: u64, now_ns: i128) -> u64 {
        let rate = i128::from(self.bytes_per_second);
        let burst = rate * NANOSECONDS.cast_signed() / i128::from(BURST_PARTS);
        let elapsed = now_ns.saturating_sub(self.last_ns).max(0);
        self.last_ns = now_ns;
        self.allowance = self.allowance.saturating_add(elapsed.saturating_mul(rate)).min(burst);
        self.allowance -= i128::from(bytes) * NANOSECONDS.cast_signed();
        if self.allowance >= 0 {
            return 0;
        }
        u64::try_from(-self.allowance / rate).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_whatever_the_pieces() {
        for piece in [1, 1_000, 64 << 10, 10 << 20] {
            let (rate, mut now) = (1 << 20, 5_000_000_000);
            let mut throttle = Throttle::new(rate, now);
            let pieces = (100u64 << 20) / piece;
            for _ in 0..pieces.min(10_000) {
                now += i128::from(throttle.take(piece, now));
            }
            let seconds = (now - 5_000_000_000) as f64 / 1e9;
            let expected = (pieces.min(10_000) * piece) as f64 / rate as f64;
            assert!((seconds - expected).abs() < 0.2, "{piece}: {seconds} s, {expected} expected");
        }
    }

    #[test]
    fn standing_still_allows_a_tenth_of_a_second_and_a_clock_that_goes_back_nothing() {
        let mut throttle = Throttle::new(1000, 0);
        assert_eq!(throttle.take(100, 60_000_000_000), 0);
        assert_eq!(throttle.take(100, 60_000_000_000), 100_000_000);
        assert_eq!(throttle.take(0, 0), 100_000_000);
    }
}
