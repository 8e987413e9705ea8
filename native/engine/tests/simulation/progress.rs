//! A long suite's way through its seeds: resumable, and noted where the test driver looks (docs/testing.md).

#![allow(clippy::print_stdout, reason = "counts are part of what a test run says")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

use super::seeds;

/// What a suite counts, by the word for it.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Runs `run` for every seed of a suite that has `count` of them, from where an earlier run of the same sources stopped.
/// `run` adds to the counts. Prints them at the end.
pub(crate) fn over_seeds(suite: &str, count: u64, run: impl FnMut(u64, &mut Counts)) {
    over(suite, seeds(count), run);
}

/// The same for a list of `count` cases that no seed draws.
pub(crate) fn over_cases(suite: &str, count: u64, run: impl FnMut(u64, &mut Counts)) {
    over(suite, 0..count, run);
}

fn over(suite: &str, range: Range<u64>, mut run: impl FnMut(u64, &mut Counts)) {
    let mut note = Note::open(suite, &range);
    while note.next < range.end {
        let started = now();
        run(note.next, &mut note.counts);
        note.seconds += started.elapsed().as_secs_f64();
        note.next += 1;
        note.keep();
    }
    let said: Vec<String> = note.counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    println!("{suite}: seeds {} to {}: {}", range.start, range.end - 1, said.join(", "));
}

struct Note {
    suite: String,
    path: Option<PathBuf>, // none: nobody asked for notes
    first: u64,
    next: u64,
    end: u64,
    counts: Counts,
    seconds: f64,
}

impl Note {
    fn open(suite: &str, range: &Range<u64>) -> Self {
        let folder = std::env::var("STILLPOINT_TEST_PROGRESS").ok();
        let path = folder.map(|folder| PathBuf::from(folder).join(format!("{suite}.json")));
        let mut note = Self {
            suite: suite.to_owned(),
            path,
            first: range.start,
            next: range.start,
            end: range.end,
            counts: Counts::new(),
            seconds: 0.0,
        };
        if let Some(text) = note.path.as_ref().and_then(|path| fs::read_to_string(path).ok()) {
            note.take_up(&text);
        }
        note
    }

    /// Goes on from an earlier note of the same range. Reads just what [`Note::keep`] writes.
    fn take_up(&mut self, text: &str) {
        let number = |name: &str| {
            let rest = text.split_once(&format!("\"{name}\": "))?.1;
            rest.split([',', ' ', '}']).next()?.parse::<f64>().ok()
        };
        let same = number("first") == Some(self.first as f64) && number("end") == Some(self.end as f64);
        let (Some(next), Some(seconds), true) = (number("next"), number("seconds"), same) else { return };
        let counts = text.split_once("\"counts\": {").and_then(|(_, rest)| rest.split_once('}'));
        for pair in counts.map_or("", |(inside, _)| inside).split(',') {
            if let Some((word, count)) = pair.split_once(':') {
                let count = count.trim().parse().expect("a count is a number");
                self.counts.insert(word.trim().trim_matches('"').to_owned(), count);
            }
        }
        self.next = next as u64;
        self.seconds = seconds;
    }

    fn keep(&self) {
        let Some(path) = &self.path else { return };
        let counts: Vec<String> = self.counts.iter().map(|(word, count)| format!("\"{word}\": {count}")).collect();
        let text = format!(
            "{{ \"suite\": \"{}\", \"first\": {}, \"next\": {}, \"end\": {}, \"counts\": {{{}}}, \"seconds\": {:.3} }}\n",
            self.suite,
            self.first,
            self.next,
            self.end,
            counts.join(", "),
            self.seconds
        );
        let unfinished = path.with_extension("unfinished");
        #[expect(clippy::disallowed_methods, reason = "a note of the test driver, not a file of the engine")]
        fs::write(&unfinished, text).expect("the folder for notes can be written");
        fs::rename(&unfinished, path).expect("the folder for notes can be written");
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a suite takes is told to people, nothing depends on it")]
fn now() -> Instant {
    Instant::now()
}

/// Adds to a count.
pub(crate) fn count(counts: &mut Counts, word: &str, more: u64) {
    *counts.entry(word.to_owned()).or_default() += more;
}
