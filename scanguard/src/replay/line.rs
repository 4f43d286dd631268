//! The line between what was read and what is judged: frames wait in it for a few seconds of the capture, so that the answers to them are
//! known when they are judged.

use std::collections::VecDeque;

use scanguard_common::packet::Parsed;

/// How long an answer is waited for, in nanoseconds: Linux sends a SYN again after one second and after three (RFC 6298, section 2).
pub const WAIT_NS: u64 = 4_000_000_000;
/// Frames that wait at most, and their bytes: in a flood the wait is shorter.
const MOST_FRAMES: usize = 1 << 17;
const MOST_BYTES: usize = 48 << 20;
/// Bytes of one box of frames, and how many frames of whatever length it takes: empty ones have a place as well.
const BOX_BYTES: usize = 256 << 10;
const BOX_FRAMES: usize = 1024;
/// Empty boxes that are kept for those to come.
const MOST_EMPTY: usize = 8;

/// A frame that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) unix_ns: u64,
    pub(super) parsed: Parsed,
    start: u32,
    end: u32,
}

#[derive(Default)]
struct Packed {
    bytes: Vec<u8>,
    frames: Vec<Waiting>,
}

/// Frames in order.
#[derive(Default)]
pub(super) struct Line {
    boxes: VecDeque<Packed>,
    /// How many frames of the first box are out.
    out: usize,
    frames: usize,
    bytes: usize,
    empty: Vec<Packed>,
}

impl Line {
    pub(super) fn push(&mut self, number: u64, unix_ns: u64, parsed: Parsed, frame: &[u8]) {
        let is_full = |last: &Packed| last.bytes.len() + frame.len() > BOX_BYTES || last.frames.len() >= BOX_FRAMES;
        if self.boxes.back().is_none_or(is_full) {
            self.boxes.push_back(self.empty.pop().unwrap_or_default());
        }
        let last = self.boxes.back_mut().expect("one was just added");
        let start = last.bytes.len();
        last.bytes.extend_from_slice(frame);
        let end = last.bytes.len();
        last.frames.push(Waiting { number, unix_ns, parsed, start: start as u32, end: end as u32 });
        self.frames += 1;
        self.bytes += frame.len();
    }

    /// Takes the first frame, if it waited long enough or there is no room for more; with `all`, at once.
    pub(super) fn pop(&mut self, latest_ns: u64, all: bool) -> Option<(Waiting, &[u8])> {
        while self.out > 0 && self.out == self.boxes.front()?.frames.len() {
            let mut done = self.boxes.pop_front()?;
            if self.empty.len() < MOST_EMPTY {
                done.bytes.clear();
                done.frames.clear();
                self.empty.push(done);
            }
            self.out = 0;
        }
        let first = *self.boxes.front()?.frames.get(self.out)?;
        let is_due = all
            || first.unix_ns.saturating_add(WAIT_NS) <= latest_ns
            || self.frames > MOST_FRAMES
            || self.bytes > MOST_BYTES;
        if !is_due {
            return None;
        }
        self.out += 1;
        self.frames -= 1;
        self.bytes -= (first.end - first.start) as usize;
        let bytes = self.boxes.front()?.bytes.get(first.start as usize..first.end as usize)?;
        Some((first, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn frames_come_out_in_order_after_the_wait() {
        let mut line = Line::default();
        for number in 0..10_u64 {
            line.push(number, number * SECOND, Parsed::default(), &[number as u8; 100_000]);
        }
        let mut out = Vec::new();
        while let Some((waiting, frame)) = line.pop(9 * SECOND, false) {
            assert_eq!((frame.len(), u64::from(frame[0])), (100_000, waiting.number));
            out.push(waiting.number);
        }
        assert_eq!(out, [0, 1, 2, 3, 4, 5]);
        while let Some((waiting, _)) = line.pop(9 * SECOND, true) {
            out.push(waiting.number);
        }
        assert_eq!(out.len(), 10);
    }

    #[test]
    fn a_flood_does_not_grow_it() {
        let mut line = Line::default();
        let mut out = 0;
        for number in 0..1_000_u64 {
            line.push(number, 0, Parsed::default(), &[0; 200_000]);
            while line.pop(0, false).is_some() {
                out += 1;
            }
        }
        assert!(line.bytes <= MOST_BYTES && out > 700, "{out} are out");
        assert!(line.boxes.len() + line.empty.len() < 300);
    }

    #[test]
    fn frames_without_bytes_do_not_grow_it_either() {
        let mut line = Line::default();
        let mut out = 0;
        for number in 0..4 * MOST_FRAMES as u64 {
            line.push(number, 0, Parsed::default(), &[]);
            while line.pop(0, false).is_some() {
                out += 1;
            }
        }
        assert_eq!(line.frames, MOST_FRAMES);
        assert_eq!(out, 3 * MOST_FRAMES);
        let places = line.boxes.iter().chain(&line.empty).map(|packed| packed.frames.capacity()).sum::<usize>();
        assert!(places <= MOST_FRAMES + (MOST_EMPTY + 2) * BOX_FRAMES, "{places} places for {MOST_FRAMES} frames");
    }
}
