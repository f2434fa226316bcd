//! Buffers in an arena: those that are needed at the same time lie apart.
//!
//! In: buffers with their bytes, steps that use them. Out: where each begins, and how large all is.

use super::steps::{Buffer, Room, Step};

/// Where every buffer begins.
pub struct Arena {
    /// First byte of each, a multiple of four.
    pub places: Vec<i64>,
    /// Bytes of all.
    pub bytes: i64,
}

/// Lays out `rooms`. `inputs` are there before the first step, `outputs` after the last one.
pub fn arena(rooms: &[Room], steps: &[Step], inputs: &[Buffer], outputs: &[Buffer]) -> Arena {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; rooms.len()];
    let mut lives_at = |buffer: Buffer, step: usize| {
        let (first, last) = lives[buffer].unwrap_or((step, step));
        lives[buffer] = Some((first.min(step), last.max(step)));
    };
    for &input in inputs {
        lives_at(input, 0);
    }
    for (at, step) in steps.iter().enumerate() {
        step.buffers().into_iter().for_each(|buffer| lives_at(buffer, at));
    }
    for &output in outputs {
        lives_at(output, steps.len());
    }
    // The largest first, each in the lowest gap among those that live with it.
    let mut order: Vec<Buffer> = (0..rooms.len()).filter(|&b| lives[b].is_some()).collect();
    order.sort_by_key(|&b| std::cmp::Reverse((rooms[b].bytes, b)));
    let mut places = vec![0; rooms.len()];
    let mut placed: Vec<Buffer> = Vec::new();
    let mut bytes = 0;
    for buffer in order {
        let together = |other: &&Buffer| match (lives[buffer], lives[**other]) {
            (Some((first, last)), Some((from, to))) => first <= to && from <= last,
            _ => false,
        };
        let size = |b: Buffer| (rooms[b].bytes + 3) / 4 * 4;
        let mut taken: Vec<(i64, i64)> =
            placed.iter().filter(together).map(|&b| (places[b], places[b] + size(b))).collect();
        taken.sort_unstable();
        let mut at = 0;
        for (from, to) in taken {
            if at + size(buffer) <= from {
                break;
            }
            at = at.max(to);
        }
        places[buffer] = at;
        bytes = bytes.max(at + size(buffer));
        placed.push(buffer);
    }
    Arena { places, bytes }
}
